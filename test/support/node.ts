/** Tukio nodes for tests: complete apps in the test's process, each on its own port, over one database and one bus. */
import { randomUUID } from "node:crypto";
import { Writable } from "node:stream";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createApp } from "../../server/app.ts";
import { readConfig } from "../../server/config/config.ts";
import { openDatabase } from "../../server/database/pool.ts";
import type { Problem } from "../../server/errors.ts";
import { mixin, serializers } from "../../server/log.ts";
import type { OrderView } from "../../server/order/query.ts";
import type { CreateProvider } from "../../server/provider/define.ts";
import type { ProviderName } from "../../server/provider/registry.ts";
import { createMemoryCounter } from "../../server/rate-limit.ts";
import { createRedisBus } from "../../server/redis/bus.ts";
import { createMemoryBus } from "../../server/status/bus.ts";
import { nextOrderId } from "./store.ts";

export const apiKey = "test-api-key-of-some-length";

/** `TUKIO_SECRET` of every test node. */
export const testSecret = "a secret that all test nodes have in common";

export interface TestNode {
  url: string;
  /** Every log line so far. */
  log: string[];
  /** Number of orders with a watcher on this node. */
  watchedOrders(): number;
  /** Publishes an event on the bus as if it had just been committed. */
  publish(event: StatusEvent): void;
  close(): Promise<void>;
}

/** A node of which only the address is known. Its other members do nothing. */
export const nodeAt = (url: string): TestNode => ({
  url,
  log: [],
  watchedOrders: () => 0,
  publish: () => undefined,
  close: async () => undefined,
});

export interface NodeOptions {
  databaseUrl: string;
  redisUrl?: string;
  env?: Record<string, string>;
  /** Replaces the `open` function of these providers. */
  open?: Partial<Record<ProviderName, CreateProvider>>;
  /** Mean time between two invariant checks in the database, in milliseconds. */
  checkMs?: number;
}

/** Starts a node. Closes it when the test is over, unless the test closed it. */
export async function startNode({
  databaseUrl,
  redisUrl,
  env = {},
  open = {},
  ...timing
}: NodeOptions): Promise<TestNode> {
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const log = pino({ level: "debug", base: null, serializers, mixin }, sink);
  const { enabledProviders, ...config } = readConfig({
    PORT: "0",
    TUKIO_API_KEY: apiKey,
    TUKIO_SECRET: testSecret,
    // High, because only tests of limits want to reach one; these set their own.
    LIMIT_PHONE: "100000",
    LIMIT_ORDER: "100000",
    LIMIT_IP: "1000000",
    // Off, because the spool writes files; tests of the spool turn it on.
    SPOOL: "off",
    ...env,
  });
  const database = openDatabase(databaseUrl, () => undefined);
  const bus = redisUrl === undefined ? createMemoryBus() : createRedisBus({ url: redisUrl, log });
  const opened = enabledProviders.map((enabled) => ({ ...enabled, create: open[enabled.name] ?? enabled.create }));
  const app = await createApp(
    { ...config, enabledProviders: opened },
    { database, bus, counter: createMemoryCounter(), log },
    timing,
  );
  const url = await app.listen();
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= (async () => {
      await app.close();
      await bus.close();
      await database.close();
    })();
    return closed;
  };
  onTestFinished(close);
  return { url, log: lines, watchedOrders: () => app.watchedOrders, publish: (event) => bus.publish(event), close };
}

/** The union of the fields of all answers, so that expectations can read any of them. */
export interface Body extends OrderView, Pick<Problem, "code" | "detail" | "errors" | "retryable"> {
  status: unknown;
  version: number;
  settled: boolean;
  watchToken: string;
  watchTokenExpiresAt: string;
  data: StatusEvent[];
  nextCursor: string | null;
  prompts: { id: string; phone: string; provider: string; amountMinor: number; currency: string }[];
}

/** An HTTP answer. The body is parsed when it is JSON. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Body;
}

export async function call(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, init);
  const text = await response.text();
  const isJson = /json/.test(response.headers.get("content-type") ?? "");
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}

/** Sends a request with the merchant's API key. */
export const send = (
  node: Pick<TestNode, "url">,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> =>
  call(node.url + path, {
    method,
    headers: {
      ...(body !== undefined && { "content-type": "application/json" }),
      authorization: `Bearer ${apiKey}`,
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });

/** Sends a request with the merchant's API key: a POST with a body, a GET without. */
export const asMerchant = (
  node: Pick<TestNode, "url">,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> => send(node, body === undefined ? "GET" : "POST", path, body, headers);

export const paymentBody = (fields: Record<string, unknown> = {}): Record<string, unknown> => ({
  orderId: nextOrderId(),
  amountMinor: 15_000,
  currency: "KES",
  provider: "daraja",
  phone: "+254712345600",
  ...fields,
});

/** Starts a payment and returns the answer's body. Repeats a 503 with the same idempotency key, up to 10 attempts. */
export async function pay(
  node: TestNode,
  fields: Record<string, unknown> = {},
): Promise<{ order: StatusEvent; watchToken: string }> {
  const body = paymentBody(fields);
  const key = { "idempotency-key": randomUUID() };
  for (let tries = 1; ; tries += 1) {
    const answer = await asMerchant(node, "/v1/payments", body, key);
    if (answer.status === 202) return answer.body;
    if (answer.status !== 503 || tries === 10) {
      throw new Error(`the payment was refused: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
  }
}
