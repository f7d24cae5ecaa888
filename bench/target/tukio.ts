/**
 * Tukio as in production, logging to a file. Only the limits per address are raised, because the bench has few addresses.
 * Orders are opened over the API; the webhooks' URLs are those that Tukio sends to the bench's Daraja.
 */
import { resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type pg from "pg";
import type { Daraja } from "../daraja.ts";
import type { Machine, Program } from "../machine.ts";
import type { Job, WatchVia } from "../message.ts";
import type { Target } from "./target.ts";

const ownRoot = resolve(import.meta.dirname, "../..");

export const apiKey = "bench-api-key-of-some-length";

export interface Tukio extends Target {
  database: string;
  /** Opens `count` orders. */
  initiate(count: number): Promise<Opened[]>;
  /** Waits until the reply to every push is stored, and postpones all due checks, which are not measured. */
  settle(orderIds?: readonly string[]): Promise<void>;
}

interface Opened {
  id: string;
  orderId: string;
  token: string;
}

export const paymentOf = (orderId: string, index: number): object => ({
  orderId,
  amountMinor: 15_000,
  currency: "KES",
  provider: "daraja",
  phone: `+2547${String(10_000_000 + (index % 9_000_000)).padStart(8, "0")}`,
  description: "2 tickets",
});

let orders = 0;

/** An order id of 12 characters, which is the length of Safaricom's account reference. */
export function nextOrderId(): string {
  orders += 1;
  return `B${String(orders).padStart(11, "0")}`;
}

export function environmentOf(machine: Machine, daraja: Daraja, databaseUrl: string): Record<string, string> {
  return {
    DATABASE_URL: databaseUrl,
    REDIS_URL: machine.redisUrl,
    DATA_DIR: `${machine.dir}/tukio`,
    PUBLIC_URL: "https://bench.example",
    TUKIO_API_KEY: apiKey,
    TUKIO_SECRET: "a secret that only the bench has and that is long enough",
    LIMIT_IP: "100000000",
    LIMIT_PHONE: "1000000",
    LIMIT_ORDER: "1000000",
    LIMIT_CONNECTIONS: "100000",
    DARAJA_BASE_URL: daraja.url,
    DARAJA_CONSUMER_KEY: "key",
    DARAJA_CONSUMER_SECRET: "secret",
    DARAJA_SHORTCODE: "174379",
    DARAJA_PASSKEY: "passkey",
    DARAJA_DEADLINE_S: "86400",
  };
}

export interface TukioOptions {
  machine: Machine;
  daraja: Daraja;
  name?: string;
  /** The root of its checkout. */
  root: string;
  args?: string[];
  /** Variables beside those of every node. */
  env?: Record<string, string>;
  /** The customer of each order. */
  customer?: object;
  /** For several processes: their number, their Redis, and the proxy in front of them. */
  nodes?: { count: number; redisUrl: string; front(nodes: readonly Program[]): Promise<Program> };
}

export async function startTukio(options: TukioOptions): Promise<Tukio> {
  const { machine, daraja, root, name = "tukio", customer } = options;
  // Another checkout makes its own tables, because a database with newer ones would be refused.
  const { url, pool } = await machine.database(name, root !== ownRoot);
  const begin = (): Promise<Program> => startProgram({ ...options, name }, url);
  let program = await begin();
  const settle = (orderIds: readonly string[] = []): Promise<void> => waitForPushes(pool, daraja, orderIds);
  const initiate = async (count: number): Promise<Opened[]> => {
    const opened = await openOrders(program.url, { count, customer });
    await settle(opened.map(({ orderId }) => orderId));
    return opened;
  };
  return {
    name,
    database: name,
    get program() {
      return program;
    },
    expects: '"status":"succeeded"',
    initiate,
    settle,
    async prepare(count, via) {
      const opened = await initiate(count);
      return opened.map((order) => jobOf(order, via, takeWebhook(daraja, order)));
    },
    async restart() {
      await program.stop();
      program = await begin();
    },
  };
}

/** Starts one process, or all nodes and the proxy in front of them. */
async function startProgram(
  { machine, daraja, name, root, args = [], env: more = {}, nodes }: TukioOptions & { name: string },
  databaseUrl: string,
): Promise<Program> {
  const env = { ...environmentOf(machine, daraja, databaseUrl), ...more };
  const start = (own: Record<string, string>): Promise<Program> =>
    machine.start(`${root}/server/main.ts`, { args, env: { ...env, ...own }, ready: "/readyz" });
  if (!nodes) return start({ DATA_DIR: `${machine.dir}/${name}` });
  const all: Program[] = [];
  for (let index = 0; index < nodes.count; index += 1) {
    all.push(await start({ DATA_DIR: `${machine.dir}/${name}-${index}`, REDIS_URL: nodes.redisUrl }));
  }
  return nodes.front(all);
}

/** Opens orders over the API, 12 at a time. */
async function openOrders(
  url: string,
  { count, customer }: { count: number; customer: object | undefined },
): Promise<Opened[]> {
  const opened: Opened[] = [];
  let next = 0;
  const open = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const response = await openOrder(url, { ...paymentOf(nextOrderId(), index), customer });
      const { order, watchToken } = (await response.json()) as {
        order: { id: string; orderId: string };
        watchToken: string;
      };
      opened.push({ id: order.id, orderId: order.orderId, token: watchToken });
    }
  };
  await Promise.all(Array.from({ length: 12 }, open));
  return opened;
}

/** Opens one order. Tries another order after a 503, because PostgreSQL may be too busy for a moment. */
async function openOrder(url: string, payment: object, tries = 30): Promise<Response> {
  const response = await fetch(`${url}/v1/payments`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify(payment),
  });
  if (response.status === 202) return response;
  const text = await response.text();
  if (response.status !== 503 || tries === 0) throw new Error(`initiate: ${response.status} ${text}`);
  await wait(200);
  return openOrder(url, { ...payment, orderId: nextOrderId() }, tries - 1);
}

async function waitForPushes(pool: pg.Pool, daraja: Daraja, orderIds: readonly string[]): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await wait(50)) {
    const { rows } = await pool.query<{ count: number }>(
      `select count(*)::int as count from "order" where status = 'pending'`,
    );
    if (rows[0]?.count === 0 && orderIds.every((id) => daraja.webhooks.has(id))) break;
  }
  await pool.query("update payment set check_at = now() + interval '12 hours' where check_at is not null");
}

function takeWebhook({ webhooks }: Daraja, { orderId }: Opened): { url: string; body: string } {
  const webhook = webhooks.get(orderId);
  if (!webhook) throw new Error(`${orderId} was not pushed`);
  webhooks.delete(orderId);
  return webhook;
}

/** `@` stands for the program's URL, which changes when the program restarts. */
const jobOf = ({ id, orderId, token }: Opened, via: WatchVia, webhook: { url: string; body: string }): Job => ({
  id,
  token,
  watchUrl: `@${watchPath(orderId, token, via)}`,
  webhookUrl: `@${webhook.url}`,
  body: webhook.body,
});

function watchPath(orderId: string, token: string, via: WatchVia): string {
  const order = `/v1/orders/${orderId}`;
  switch (via) {
    case "socketio":
      return "";
    case "websocket":
      return `${order}/socket?token=${token}`;
    case "eventsource":
      return `${order}/events?token=${token}`;
    default:
      return `${order}/wait?timeout=60&token=${token}`;
  }
}
