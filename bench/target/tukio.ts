/**
 * Tukio as it runs in production, except that the requests per address are not limited: the bench has few addresses. It
 * logs to a file. Orders are opened over its API; the URLs of webhooks are those that the bench's own Daraja was given.
 */
import type { Daraja } from "../daraja.ts";
import type { Machine, Program } from "../machine.ts";
import type { Job, WatchVia } from "../plan.ts";
import type { Target } from "./target.ts";

export const apiKey = "bench-api-key-of-some-length";

export interface Tukio extends Target {
  database: string;
  /** Opens so many orders; resolves with their names and tokens. */
  initiate(count: number): Promise<Opened[]>;
  /** Waits until every push is answered and stored, and puts off asking Daraja: that is not what is measured. */
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

/** An order's name that Safaricom is told whole: 12 characters. */
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
  /** Where its sources are. */
  root: string;
  args?: string[];
  /** Of several processes: how many, what they publish over, and what is in front of them. */
  hubs?: { count: number; redisUrl: string; front(hubs: readonly Program[]): Promise<Program> };
}

export async function startTukio({
  machine,
  daraja,
  name = "tukio",
  root,
  args = [],
  hubs,
}: TukioOptions): Promise<Tukio> {
  const { url, pool } = await machine.database(name);
  const env = environmentOf(machine, daraja, url);
  const start = (own: Record<string, string>): Promise<Program> =>
    machine.start(`${root}/server/main.ts`, { args, env: { ...env, ...own }, ready: "/readyz" });
  const begin = async (): Promise<Program> => {
    if (!hubs) return start({ DATA_DIR: `${machine.dir}/${name}` });
    const all: Program[] = [];
    for (let index = 0; index < hubs.count; index += 1) {
      all.push(await start({ DATA_DIR: `${machine.dir}/${name}-${index}`, REDIS_URL: hubs.redisUrl }));
    }
    return hubs.front(all);
  };
  let program = await begin();

  /** On a busy machine the database may be out of reach for a moment: that order is left, and another one begun. */
  const post = async (index: number, tries = 30): Promise<Response> => {
    const response = await fetch(`${program.url}/v1/payments`, {
      method: "POST",
      headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
      body: JSON.stringify(paymentOf(nextOrderId(), index)),
    });
    if (response.status === 202) return response;
    const text = await response.text();
    if (response.status !== 503 || tries === 0) throw new Error(`initiate: ${response.status} ${text}`);
    await new Promise((done) => setTimeout(done, 200));
    return post(index, tries - 1);
  };

  const initiate = async (count: number): Promise<Opened[]> => {
    const opened: Opened[] = [];
    let next = 0;
    const open = async (): Promise<void> => {
      for (let index = next++; index < count; index = next++) {
        const response = await post(index);
        const { order, watchToken } = (await response.json()) as {
          order: { id: string; orderId: string };
          watchToken: string;
        };
        opened.push({ id: order.id, orderId: order.orderId, token: watchToken });
      }
    };
    await Promise.all(Array.from({ length: 12 }, open));
    await settle(opened.map(({ orderId }) => orderId));
    return opened;
  };

  const settle = async (orderIds: readonly string[] = []): Promise<void> => {
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
      const { rows } = await pool.query<{ count: number }>(
        `select count(*)::int as count from "order" where status = 'pending'`,
      );
      if (rows[0]?.count === 0 && orderIds.every((id) => daraja.webhooks.has(id))) break;
      await new Promise((done) => setTimeout(done, 50));
    }
    await pool.query("update payment set check_at = now() + interval '12 hours' where check_at is not null");
  };

  const watchUrl = ({ orderId, token }: Opened, via: WatchVia): string => {
    const order = `${program.url}/v1/orders/${orderId}`;
    switch (via) {
      case "socketio":
        return program.url;
      case "websocket":
        return `${order}/socket?token=${token}`;
      case "eventsource":
        return `${order}/events?token=${token}`;
      default:
        return `${order}/wait?timeout=60&token=${token}`;
    }
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
      return opened.map((order): Job => {
        const webhook = daraja.webhooks.get(order.orderId);
        if (!webhook) throw new Error(`${order.orderId} was not pushed`);
        daraja.webhooks.delete(order.orderId);
        return {
          id: order.id,
          token: order.token,
          watchUrl: watchUrl(order, via).replace(program.url, "@"),
          webhookUrl: `@${webhook.url}`,
          body: webhook.body,
        };
      });
    },
    async restart() {
      await program.stop();
      program = await begin();
    },
  };
}
