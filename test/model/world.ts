/**
 * The real thing that the model is compared with: node A within this process and node B in one of its own, a Redis and a
 * way to PostgreSQL that can be broken, and providers that say what the test decides. Everything ends with the test.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { startEmbedded } from "../../server/database/embedded-postgres.ts";
import { migrate } from "../../server/database/migrate.ts";
import { createDatabase } from "../support/database.ts";
import { type Answer, apiKey, asMerchant, call, startNode, type TestNode, testSecret } from "../support/node.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { fixture } from "../support/sandbox.ts";
import { scrape } from "../support/scrape.ts";
import {
  providerEnv,
  type ScriptedAnswer,
  type ScriptedCall,
  startScriptedProvider,
} from "../support/scripted-provider.ts";
import { type TransportName, type Watch, watch } from "../support/watch.ts";
import {
  type Doubt,
  type ModelOrder,
  type ModelPayment,
  type ProviderDefinition,
  providersOf,
  receiptOf,
} from "./model.ts";

export type NodeName = "a" | "b";

/** How a provider takes a request for money. `drop`: no answer, though it may have asked the payer. */
export type Reply = "accept" | "refuse" | "drop" | "hold";

/** What a provider says when it is asked what became of a payment. */
export type Saying =
  | "open"
  | "nothing"
  | "down"
  | "failed"
  | "failed otherwise"
  | { paidMinor: number; receipt: string };

/**
 * How bKash answers Execute once the payer has agreed. `loses`: takes the money, but its answer gets lost; `keeps`: no
 * answer, and took nothing.
 */
export type Execution = "takes" | "refuses" | "loses" | "keeps";

export interface Checkout {
  hasAgreed: boolean;
  execution: Execution;
  /** Before this resolves, Execute is not answered and no money moves. */
  isFree: Promise<void>;
  /** How often it was asked to execute, whatever became of it. */
  executions: number;
  isPaid: boolean;
}

export interface WorldWatcher {
  order: ModelOrder;
  transport: TransportName;
  at: NodeName;
  seen: StatusEvent[];
  live?: Watch;
}

export interface World {
  url(node: NodeName): string;
  query(text: string, values: unknown[]): Promise<Record<string, unknown>[]>;
  /** How the next request for money is taken. */
  nextReply: Reply;
  /** Resolves when the provider was asked for this payment's money: where its webhooks go, and how to let a held reply go. */
  asked(paymentId: string): Promise<{ path: string; reference: string; release(): void }>;
  /** What the provider says from now on; `once`: to the next question only. */
  say(paymentId: string, saying: Saying, once?: true): void;
  questions(paymentId: string): number;
  /** What bKash knows of a payment, and how it takes its execution. */
  checkout(paymentId: string): Checkout;
  /** The payer's browser comes back, saying so; to the other node too, as long as it is asked to wait. */
  recordReturn(node: NodeName, path: string, status: string): Promise<Answer>;
  /** Lets the provider be asked by the schedule, as if the prompt and what is suspected were so old, and no older. */
  ask(paymentId: string, doubt: Doubt): Promise<void>;
  /**
   * Whether a failure is suspected and to be asked about again within half a minute; the schedule alone waits longer.
   * Neither while the last answer is not stored yet.
   */
  isSuspected(paymentId: string): Promise<unknown>;
  /** Sends to the node, or to the other one, again and again until it is taken, as providers do. */
  deliver(node: NodeName, path: string, webhook: { headers?: Record<string, string>; body: string }): Promise<Answer>;
  merchant(node: NodeName, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Resolves when no webhook waits on a node's disk any more: it would be applied behind what comes next. */
  unspooled(): Promise<void>;
  watchers: WorldWatcher[];
  connect(watcher: WorldWatcher, node: NodeName): void;
  disconnect(watcher: WorldWatcher): void;
  kill(): Promise<void>;
  restart(): Promise<void>;
  redis: TestRedis;
  /** Breaks every connection to PostgreSQL and lets none in for a moment; in the long run PostgreSQL itself restarts. */
  breakPostgres(): Promise<void>;
}

const main = fileURLToPath(new URL("../../server/main.ts", import.meta.url));

export async function createWorld({ isLong }: { isLong: boolean }): Promise<World> {
  const postgres = await openPostgres(isLong);
  const redis = await startRedis();
  onTestFinished(redis.stop);
  const registry = await startProviders();
  const names = ["daraja", "zenopay", "bkash"] as const;
  const env = Object.fromEntries(
    names.flatMap((name) => [
      ...Object.entries(providerEnv(name, registry.url)),
      [`${name.toUpperCase()}_DEADLINE_S`, "36000"],
    ]),
  );
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-model-"));
  onTestFinished(() => rm(dataDir, { recursive: true }));

  const startA = (port = "0"): Promise<TestNode> =>
    startNode({
      databaseUrl: postgres.url,
      redisUrl: redis.url,
      env: { ...env, PORT: port, DATA_DIR: join(dataDir, "a") },
    });
  let a = await startA();
  const startB = (port = "0"): Promise<{ process: ChildProcess; url: string }> =>
    startProcess({
      ...env,
      PORT: port,
      DATA_DIR: join(dataDir, "b"),
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      LIMIT_PHONE: "100000",
      LIMIT_ORDER: "100000",
      LIMIT_IP: "1000000",
    });
  let b = await startB();
  const url = (node: NodeName): string => (node === "a" ? a.url : b.url);
  const other = (node: NodeName): NodeName => (node === "a" ? "b" : "a");
  const portOf = (node: NodeName): string => new URL(url(node)).port;

  const untilTaken = async (node: NodeName, send: (url: string) => Promise<Answer>): Promise<Answer> => {
    let at = node;
    let last: unknown;
    for (const endsAtMs = Date.now() + 30_000; Date.now() < endsAtMs; at = other(at)) {
      const answer = await send(url(at)).catch((error: Error) => error);
      if ("status" in answer && answer.status < 500) return answer;
      last = "status" in answer ? `${answer.status} ${JSON.stringify(answer.body)}` : answer;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`not taken for 30 s: ${last}`);
  };

  const world: World = {
    ...registry.world,
    get nextReply() {
      return registry.world.nextReply;
    },
    set nextReply(reply) {
      registry.world.nextReply = reply;
    },
    url,
    redis,
    watchers: [],
    query: async (text, values) => {
      const client = new pg.Client(postgres.directUrl());
      await client.connect();
      const { rows } = await client.query(text, values).finally(() => client.end());
      return rows;
    },
    async ask(paymentId, { ageS, suspicion }) {
      const before = world.questions(paymentId);
      await world.query(
        `update payment set check_at = clock_timestamp(), started_at = clock_timestamp() - $2 * interval '1 second',
           suspected_at = clock_timestamp() - $3 * interval '1 second' where id = $1`,
        [paymentId, ageS, suspicion?.sinceS],
      );
      await vi.waitUntil(() => world.questions(paymentId) > before, { interval: 10 });
    },
    async isSuspected(paymentId) {
      const text = `select case when suspected is null then false
          when check_at between clock_timestamp() and clock_timestamp() + interval '30 seconds' then true end as is_suspected
        from payment where id = $1`;
      const [row] = await world.query(text, [paymentId]);
      return row?.is_suspected;
    },
    deliver: (node, path, { headers = {}, body }) =>
      untilTaken(node, (at) =>
        call(at + path, {
          method: "POST",
          headers: { "content-type": "application/json", ...headers },
          body,
          signal: AbortSignal.timeout(10_000),
        }),
      ),
    recordReturn: (node, path, status) => untilTaken(node, (at) => call(`${at}${path}?status=${status}`)),
    merchant: (node, path, body, headers) =>
      untilTaken(node, (at) => asMerchant({ ...a, url: at }, path, body, headers)),
    // Node A has no spool.
    async unspooled() {
      const isEmpty = async () => (await scrape({ url: b.url })).value("tukio_spooled") === 0;
      await vi.waitUntil(isEmpty, { interval: 20 });
    },
    connect(watcher, node) {
      const after = watcher.seen.at(-1)?.version;
      const { orderId, token } = watcher.order;
      const live = watch(watcher.transport, {
        node: { url: url(node) },
        orderId,
        token,
        ...(after !== undefined && { after }),
      });
      // What it sees from now on goes behind what it saw before.
      const before = watcher.seen;
      watcher.seen = new Proxy(live.seen, {
        get: (seen, key) => Reflect.get([...before, ...seen], key),
      });
      watcher.live = live;
      watcher.at = node;
    },
    disconnect(watcher) {
      watcher.live?.close();
      watcher.seen = [...watcher.seen];
      delete watcher.live;
    },
    async kill() {
      for (const watcher of world.watchers.filter(({ at }) => at === "b")) world.disconnect(watcher);
      const port = portOf("b");
      const exited = once(b.process, "exit");
      b.process.kill("SIGKILL");
      await exited;
      b = await startB(port);
    },
    async restart() {
      for (const watcher of world.watchers.filter(({ at }) => at === "a")) world.disconnect(watcher);
      const port = portOf("a");
      await a.close();
      a = await startA(port);
    },
    breakPostgres: postgres.break,
  };
  return world;
}

async function startProcess(env: Record<string, string>): Promise<{ process: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH ?? "", TUKIO_API_KEY: apiKey, TUKIO_SECRET: testSecret, LOG_LEVEL: "info", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output = (output + chunk).slice(-100_000)));
  const url = await vi
    .waitUntil(() => /listening at (http:\S+?)"/.exec(output)?.[1], { timeout: 30_000 })
    .catch(() => assert.fail(`node B does not listen: ${output}`));
  return { process: child, url };
}

/** PostgreSQL behind a way that can be cut; in the long run one of our own, to be restarted. */
async function openPostgres(isLong: boolean): Promise<{ url: string; directUrl(): string; break(): Promise<void> }> {
  let direct: string;
  let restart = async (): Promise<void> => undefined;
  if (isLong) {
    const dataDir = await mkdtemp(join(tmpdir(), "tukio-model-db-"));
    const start = () => startEmbedded({ dataDir, log: { info: () => undefined } });
    let server = await start();
    onTestFinished(async () => {
      await server.close();
      await rm(dataDir, { recursive: true, force: true, maxRetries: 10 });
    });
    direct = server.url;
    const pool = new pg.Pool({ connectionString: direct });
    await migrate(pool);
    await pool.end();
    restart = async () => {
      await server.close();
      server = await start();
      direct = server.url;
    };
  } else {
    const database = await createDatabase();
    onTestFinished(database.drop);
    direct = database.url;
  }
  let isCut = false;
  const sockets = new Set<Socket>();
  const way = createServer((socket) => {
    if (isCut) return socket.destroy();
    const { port } = new URL(direct);
    const onward = connect(Number(port), "127.0.0.1");
    for (const one of [socket, onward]) {
      sockets.add(one);
      one
        .on("error", () => undefined)
        .once("close", () => {
          sockets.delete(one);
          socket.destroy();
          onward.destroy();
        });
    }
    socket.pipe(onward).pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(way, "listening");
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    way.close();
  });
  const url = new URL(direct);
  url.port = String((way.address() as { port: number }).port);
  return {
    url: url.href,
    directUrl: () => direct,
    async break() {
      isCut = true;
      for (const socket of sockets) socket.destroy();
      if (isLong) await restart();
      // As long as a failover is away at the least: whoever tries now is refused.
      else await new Promise((resolve) => setTimeout(resolve, 300));
      isCut = false;
    },
  };
}

type ProvidersWorld = Pick<World, "nextReply" | "asked" | "say" | "questions" | "checkout">;

interface Request {
  path: string;
  reference: string;
  release(): void;
}

/** All providers on one server; a payment is known by the secret of its webhook's address, which begins with its id. */
async function startProviders(): Promise<{
  url: string;
  world: ProvidersWorld;
}> {
  const requests = new Map<string, Request>();
  const byReference = new Map<string, string>();
  const sayings = new Map<string, Saying>();
  const oneOff = new Map<string, Saying>();
  const counts = new Map<string, number>();
  const checkouts = new Map<string, Checkout>();
  const world: ProvidersWorld = {
    nextReply: "accept",
    asked: (paymentId) => vi.waitUntil(() => requests.get(paymentId), { interval: 5 }),
    say: (paymentId, saying, isOnce) => void (isOnce ? oneOff : sayings).set(paymentId, saying),
    questions: (paymentId) => counts.get(paymentId) ?? 0,
    checkout: (paymentId) => checkouts.get(paymentId) ?? assert.fail("bKash was asked for it"),
  };

  const initiated = async (request: ScriptedCall): Promise<ScriptedAnswer | "drop"> => {
    const [, path = "", hex = ""] =
      /(\/(?:webhooks\/[a-z]+|return)\/([0-9a-f]{32})[0-9a-f]{32})/.exec(request.text) ?? [];
    const paymentId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
    const provider: ProviderDefinition = path.includes("daraja")
      ? "daraja"
      : path.includes("zenopay")
        ? "zenopay"
        : "bkash";
    assert(!requests.has(paymentId), "nobody is asked for money twice");
    const reference = { daraja: `ws_CO_${hex}`, zenopay: paymentId, bkash: `TR${hex}` }[provider];
    const { promise, resolve } = Promise.withResolvers<void>();
    byReference.set(reference, paymentId);
    const reply = world.nextReply;
    if (reply === "accept") sayings.set(paymentId, "open");
    requests.set(paymentId, { path, reference, release: resolve });
    if (provider === "bkash") {
      const isFree = Promise.resolve();
      checkouts.set(paymentId, { hasAgreed: false, execution: "takes", isFree, executions: 0, isPaid: false });
    }
    if (reply === "drop") return "drop";
    if (reply === "refuse") {
      const names = { daraja: "error-invalid-field", zenopay: "error-invalid-phone", bkash: "error-invalid-amount" };
      return fixture(provider, names[provider]);
    }
    if (reply === "hold") await promise;
    sayings.set(paymentId, sayings.get(paymentId) ?? "open");
    if (provider === "bkash") return { body: { ...fixture("bkash", "create-accepted").body, paymentID: reference } };
    return provider === "daraja"
      ? { body: { ...fixture("daraja", "push-accepted").body, CheckoutRequestID: reference } }
      : { body: { ...fixture("zenopay", "accepted").body, order_id: paymentId } };
  };

  const answered = (provider: ProviderDefinition, reference: string): ScriptedAnswer => {
    const paymentId = byReference.get(reference) ?? "";
    const saying = oneOff.get(paymentId) ?? sayings.get(paymentId) ?? "nothing";
    oneOff.delete(paymentId);
    counts.set(paymentId, (counts.get(paymentId) ?? 0) + 1);
    if (saying === "down") return { status: 503, text: "" };
    if (provider === "bkash") {
      const state = world.checkout(paymentId).isPaid ? "query-completed" : "query-initiated";
      return stated(saying === "nothing" ? "query-unknown-state" : state, paymentId, reference);
    }
    if (saying === "nothing") return { body: {} };
    if (provider === "daraja") {
      if (saying === "open") {
        return { status: 500, body: { errorCode: "500.001.1001", errorMessage: "The transaction is being processed" } };
      }
      const failures: Partial<Record<string, string>> = {
        failed: "query-cancelled",
        "failed otherwise": "query-no-response",
      };
      const name = (typeof saying === "string" && failures[saying]) || "query-success";
      return { body: { ...fixture("daraja", name).body, CheckoutRequestID: reference } };
    }
    const isPaid = typeof saying === "object";
    const names = { open: "query-pending", failed: "query-failed", "failed otherwise": "query-cancelled" };
    const { body } = fixture("zenopay", isPaid ? "query-completed" : names[saying]);
    const own = {
      order_id: reference,
      ...(isPaid && { amount: String(saying.paidMinor / 100), transid: saying.receipt }),
    };
    return { body: { ...body, data: (body.data as object[]).map((row) => ({ ...row, ...own })) } };
  };

  const stated = (name: string, paymentId: string, paymentID: string): ScriptedAnswer => {
    const { body } = fixture("bkash", name);
    const trxID = receiptOf({ provider: "bkash", id: paymentId });
    const invoice = "merchantInvoice" in body ? { merchantInvoice: paymentId } : { merchantInvoiceNumber: paymentId };
    return { body: { ...body, paymentID, ...invoice, ...("trxID" in body && { trxID }) } };
  };

  const executed = async (paymentID: string): Promise<ScriptedAnswer | "drop"> => {
    const paymentId = byReference.get(paymentID) ?? assert.fail("nothing is executed that was not created");
    const checkout = world.checkout(paymentId);
    checkout.executions += 1;
    const { hasAgreed, execution } = checkout;
    await checkout.isFree;
    if (!hasAgreed) return fixture("bkash", "error-invalid-payment-state");
    if (execution === "refuses") return fixture("bkash", "error-insufficient-balance");
    checkout.isPaid ||= execution !== "keeps";
    return execution === "takes" ? stated("execute-completed", paymentId, paymentID) : "drop";
  };

  const script = await startScriptedProvider((request) => {
    script.calls.length = 0;
    if (request.path.startsWith("/oauth/")) return { body: { access_token: "token", expires_in: "3599" } };
    if (request.path.startsWith("/order-status?")) {
      return answered("zenopay", new URL(request.path, "http://x").searchParams.get("order_id") ?? "");
    }
    if (request.path.startsWith("/mpesa/stkpushquery/"))
      return answered("daraja", String(request.body.CheckoutRequestID));
    const verb = /^\/tokenized\/checkout\/(.*)$/.exec(request.path)?.[1];
    if (verb?.startsWith("token/")) return fixture("bkash", "token-granted");
    if (verb === "execute") return executed(String(request.body.paymentID));
    if (verb === "payment/status") return answered("bkash", String(request.body.paymentID));
    return initiated(request);
  });
  return { url: script.url, world };
}

/** What the merchant asks for. */
export const bodyFor = (provider: ProviderDefinition, orderId: string): object => {
  const { currency, amountMinor, phone } = providersOf[provider];
  return { orderId, amountMinor, currency, phone, provider };
};

/** What a provider posts to a payment's address. */
export function webhookOf(
  { provider, reference, id }: Pick<ModelPayment, "provider" | "reference" | "id">,
  said: { kind: "paid" | "wrong" | "bare" | "cancelled" | "timeout"; receipt: string; isSigned?: boolean },
): { headers: Record<string, string>; body: string } {
  if (provider === "zenopay") {
    const status = said.kind === "cancelled" || said.kind === "timeout" ? "FAILED" : "COMPLETED";
    const headers: Record<string, string> =
      said.isSigned === false ? {} : { "x-api-key": providerEnv("zenopay", "").ZENOPAY_API_KEY ?? "" };
    return {
      headers,
      body: JSON.stringify({ ...fixture("zenopay", "webhook-completed").body, order_id: id, payment_status: status }),
    };
  }
  const { amountMinor } = providersOf.daraja;
  const paid = {
    Amount: said.kind === "wrong" ? amountMinor / 100 + 1 : amountMinor / 100,
    MpesaReceiptNumber: said.receipt,
  };
  const items = Object.entries(paid).map(([Name, Value]) => ({ Name, Value }));
  const callback = {
    paid: { ResultCode: 0, CallbackMetadata: { Item: items } },
    wrong: { ResultCode: 0, CallbackMetadata: { Item: items } },
    bare: { ResultCode: 0 },
    cancelled: { ResultCode: 1032 },
    timeout: { ResultCode: 1037 },
  }[said.kind];
  return {
    headers: {},
    body: JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: reference, ...callback } } }),
  };
}
