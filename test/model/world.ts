/**
 * The real system that the model is compared with: node A in this process, node B in its own, a Redis and a PostgreSQL that
 * can fail, and scripted providers. Everything stops with the test.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
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
import { startedUrl } from "../support/process.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { fixture } from "../support/sandbox.ts";
import { scrape } from "../support/scrape.ts";
import {
  providerEnv,
  type ScriptedAnswer,
  type ScriptedCall,
  startScriptedProvider,
} from "../support/scripted-provider.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { type TransportName, type Watch, watch } from "../support/watch.ts";
import {
  type ModelOrder,
  type ModelPayment,
  type ModelProvider,
  providersOf,
  type QueryState,
  receiptOf,
} from "./model.ts";

export type NodeName = "a" | "b";

/** A provider's reply to initiate. `drop`: no reply, although the payer may have a prompt. */
export type Reply = "accept" | "refuse" | "drop" | "hold";

/** A provider's answer to a query. */
export type QueryAnswer =
  | "open"
  | "nothing"
  | "down"
  | "failed"
  | "failed otherwise"
  | { paidMinor: number; receipt: string };

/**
 * bKash's handling of Execute after the payer's approval. `loses`: takes the money without an answer; `keeps`: takes nothing
 * and gives no answer.
 */
export type Execution = "takes" | "refuses" | "loses" | "keeps";

export interface Checkout {
  hasApproved: boolean;
  execution: Execution;
  /** Until this resolves, Execute is not answered and no money moves. */
  isFree: Promise<void>;
  /** Number of Execute requests, whatever their result. */
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
  /** The reply to the next initiate. */
  nextReply: Reply;
  /** Waits until the payment is initiated. `path` is that of its webhook URL; `release` sends a held reply. */
  initiation(paymentId: string): Promise<{ path: string; reference: string; release(): void }>;
  /** Sets the answer to all later queries; with `once`, only to the next. */
  setAnswer(paymentId: string, answer: QueryAnswer, once?: true): void;
  queryCount(paymentId: string): number;
  /** bKash's state of a payment, and its handling of Execute. */
  checkout(paymentId: string): Checkout;
  /** The payer's browser returns with this status. Repeats at the other node until a node answers below 500. */
  recordReturn(node: NodeName, path: string, status: string): Promise<Answer>;
  /** Makes the payment due for a check and waits for the query. Sets the ages of prompt and suspicion. */
  checkNow(paymentId: string, state: QueryState): Promise<void>;
  /**
   * Whether a failure is suspected and due for confirmation within 30 s; without suspicion the schedule waits longer.
   * Undefined while the last answer is not stored.
   */
  isSuspected(paymentId: string): Promise<unknown>;
  /** Posts a webhook alternately to both nodes until one answers below 500, as providers repeat. */
  deliver(node: NodeName, path: string, webhook: { headers?: Record<string, string>; body: string }): Promise<Answer>;
  merchant(node: NodeName, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Waits until the spools are empty, because a spooled webhook would be applied after later commands. */
  unspooled(): Promise<void>;
  watchers: WorldWatcher[];
  connect(watcher: WorldWatcher, node: NodeName): void;
  disconnect(watcher: WorldWatcher): void;
  kill(): Promise<void>;
  restart(): Promise<void>;
  redis: TestRedis;
  /** Closes every connection to PostgreSQL and refuses new ones for a moment. In a long run PostgreSQL restarts. */
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
    throw new Error(`no node accepted the request within 30 s: ${last}`);
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
    async checkNow(paymentId, { ageS, suspicion }) {
      const before = world.queryCount(paymentId);
      await world.query(
        `update payment set check_at = clock_timestamp(), started_at = clock_timestamp() - $2 * interval '1 second',
           suspected_at = clock_timestamp() - $3 * interval '1 second' where id = $1`,
        [paymentId, ageS, suspicion?.sinceS],
      );
      await vi.waitUntil(() => world.queryCount(paymentId) > before, { interval: 10 });
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
      // Appends later events to the earlier ones.
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
    .waitUntil(() => startedUrl(output), { timeout: 30_000 })
    .catch(() => assert.fail(`node B does not listen: ${output}`));
  return { process: child, url };
}

/** Opens a database behind a TCP proxy; in a long run on a separate PostgreSQL that `break` restarts. */
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
  const proxy = await startTcpProxy(direct);
  return {
    url: proxy.url,
    directUrl: () => direct,
    async break() {
      proxy.cut();
      if (isLong) {
        await restart();
        proxy.targets = [direct];
      }
      // 300 ms, because new connections must fail for a moment, as during a failover.
      else await new Promise((resolve) => setTimeout(resolve, 300));
      proxy.restore();
    },
  };
}

type ProvidersWorld = Pick<World, "nextReply" | "initiation" | "setAnswer" | "queryCount" | "checkout">;

interface Initiation {
  path: string;
  reference: string;
  release(): void;
}

/** What the scripted providers know. All maps but `byReference` have the payment's id as key. */
interface ProvidersState {
  nextReply: Reply;
  initiations: Map<string, Initiation>;
  byReference: Map<string, string>;
  answers: Map<string, QueryAnswer>;
  /** Each answers one query, before `answers`. */
  singleAnswers: Map<string, QueryAnswer>;
  queryCounts: Map<string, number>;
  checkouts: Map<string, Checkout>;
}

/** Starts all providers on one server. */
async function startProviders(): Promise<{ url: string; world: ProvidersWorld }> {
  const state: ProvidersState = {
    nextReply: "accept",
    initiations: new Map(),
    byReference: new Map(),
    answers: new Map(),
    singleAnswers: new Map(),
    queryCounts: new Map(),
    checkouts: new Map(),
  };
  const script = await startScriptedProvider((request) => {
    script.calls.length = 0;
    return respond(state, request);
  });
  const world: ProvidersWorld = {
    get nextReply() {
      return state.nextReply;
    },
    set nextReply(reply) {
      state.nextReply = reply;
    },
    initiation: (paymentId) => vi.waitUntil(() => state.initiations.get(paymentId), { interval: 5 }),
    setAnswer: (paymentId, answer, isOnce) =>
      void (isOnce ? state.singleAnswers : state.answers).set(paymentId, answer),
    queryCount: (paymentId) => state.queryCounts.get(paymentId) ?? 0,
    checkout: (paymentId) => checkoutOf(state, paymentId),
  };
  return { url: script.url, world };
}

const checkoutOf = ({ checkouts }: ProvidersState, paymentId: string): Checkout =>
  checkouts.get(paymentId) ?? assert.fail("bKash does not know the payment");

function respond(
  state: ProvidersState,
  request: ScriptedCall,
): ScriptedAnswer | "drop" | Promise<ScriptedAnswer | "drop"> {
  const { path, body } = request;
  if (path.startsWith("/oauth/")) return { body: { access_token: "token", expires_in: "3599" } };
  if (path.startsWith("/order-status?")) {
    return answerQuery(state, "zenopay", new URL(path, "http://x").searchParams.get("order_id") ?? "");
  }
  if (path.startsWith("/mpesa/stkpushquery/")) return answerQuery(state, "daraja", String(body.CheckoutRequestID));
  const call = /^\/tokenized\/checkout\/(.*)$/.exec(path)?.[1];
  if (call?.startsWith("token/")) return fixture("bkash", "token-granted");
  if (call === "execute") return answerExecute(state, String(body.paymentID));
  if (call === "payment/status") return answerQuery(state, "bkash", String(body.paymentID));
  return answerInitiate(state, request);
}

const refusals: Record<ModelProvider, string> = {
  daraja: "error-invalid-field",
  zenopay: "error-invalid-phone",
  bkash: "error-invalid-amount",
};

async function answerInitiate(state: ProvidersState, { text }: ScriptedCall): Promise<ScriptedAnswer | "drop"> {
  // The secret in the URL of webhook or return begins with the payment's id.
  const [, path = "", hex = ""] = /(\/(?:webhooks\/[a-z]+|return)\/([0-9a-f]{32})[0-9a-f]{32})/.exec(text) ?? [];
  const paymentId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  const provider = (["daraja", "zenopay"] as const).find((name) => path.includes(name)) ?? "bkash";
  assert(!state.initiations.has(paymentId), "a payment is initiated once");
  const reference = { daraja: `ws_CO_${hex}`, zenopay: paymentId, bkash: `TR${hex}` }[provider];
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  state.byReference.set(reference, paymentId);
  const reply = state.nextReply;
  if (reply === "accept") state.answers.set(paymentId, "open");
  state.initiations.set(paymentId, { path, reference, release });
  if (provider === "bkash") {
    const isFree = Promise.resolve();
    state.checkouts.set(paymentId, { hasApproved: false, execution: "takes", isFree, executions: 0, isPaid: false });
  }
  if (reply === "drop") return "drop";
  if (reply === "refuse") return fixture(provider, refusals[provider]);
  if (reply === "hold") await released;
  state.answers.set(paymentId, state.answers.get(paymentId) ?? "open");
  return acceptance(provider, { paymentId, reference });
}

function acceptance(
  provider: ModelProvider,
  { paymentId, reference }: { paymentId: string; reference: string },
): ScriptedAnswer {
  if (provider === "bkash") return { body: { ...fixture("bkash", "create-accepted").body, paymentID: reference } };
  if (provider === "zenopay") return { body: { ...fixture("zenopay", "accepted").body, order_id: paymentId } };
  return { body: { ...fixture("daraja", "push-accepted").body, CheckoutRequestID: reference } };
}

function answerQuery(state: ProvidersState, provider: ModelProvider, reference: string): ScriptedAnswer {
  const paymentId = state.byReference.get(reference) ?? "";
  const answer = state.singleAnswers.get(paymentId) ?? state.answers.get(paymentId) ?? "nothing";
  state.singleAnswers.delete(paymentId);
  state.queryCounts.set(paymentId, (state.queryCounts.get(paymentId) ?? 0) + 1);
  if (answer === "down") return { status: 503, text: "" };
  if (provider === "bkash") {
    const paid = checkoutOf(state, paymentId).isPaid ? "query-completed" : "query-initiated";
    return bkashAnswer(answer === "nothing" ? "query-unknown-state" : paid, paymentId, reference);
  }
  if (answer === "nothing") return { body: {} };
  return provider === "daraja" ? darajaAnswer(answer, reference) : zenopayAnswer(answer, reference);
}

type UsableAnswer = Exclude<QueryAnswer, "down" | "nothing">;

function darajaAnswer(answer: UsableAnswer, reference: string): ScriptedAnswer {
  if (answer === "open") {
    return { status: 500, body: { errorCode: "500.001.1001", errorMessage: "The transaction is being processed" } };
  }
  const failures = { failed: "query-cancelled", "failed otherwise": "query-no-response" };
  const name = typeof answer === "string" ? failures[answer] : "query-success";
  return { body: { ...fixture("daraja", name).body, CheckoutRequestID: reference } };
}

function zenopayAnswer(answer: UsableAnswer, reference: string): ScriptedAnswer {
  const isPaid = typeof answer === "object";
  const names = { open: "query-pending", failed: "query-failed", "failed otherwise": "query-cancelled" };
  const { body } = fixture("zenopay", isPaid ? "query-completed" : names[answer]);
  const own = {
    order_id: reference,
    ...(isPaid && { amount: String(answer.paidMinor / 100), transid: answer.receipt }),
  };
  return { body: { ...body, data: (body.data as object[]).map((row) => ({ ...row, ...own })) } };
}

function bkashAnswer(name: string, paymentId: string, paymentID: string): ScriptedAnswer {
  const { body } = fixture("bkash", name);
  const trxID = receiptOf({ provider: "bkash", id: paymentId });
  const invoice = "merchantInvoice" in body ? { merchantInvoice: paymentId } : { merchantInvoiceNumber: paymentId };
  return { body: { ...body, paymentID, ...invoice, ...("trxID" in body && { trxID }) } };
}

async function answerExecute(state: ProvidersState, paymentID: string): Promise<ScriptedAnswer | "drop"> {
  const paymentId = state.byReference.get(paymentID) ?? assert.fail("Execute of a payment that was not created");
  const checkout = checkoutOf(state, paymentId);
  checkout.executions += 1;
  const { hasApproved, execution } = checkout;
  await checkout.isFree;
  if (!hasApproved) return fixture("bkash", "error-invalid-payment-state");
  if (execution === "refuses") return fixture("bkash", "error-insufficient-balance");
  checkout.isPaid ||= execution !== "keeps";
  return execution === "takes" ? bkashAnswer("execute-completed", paymentId, paymentID) : "drop";
}

/** The body of the merchant's request. */
export const bodyFor = (provider: ModelProvider, orderId: string): object => {
  const { currency, amountMinor, phone } = providersOf[provider];
  return { orderId, amountMinor, currency, phone, provider };
};

/** The webhook that a provider posts for a payment. */
export function webhookOf(
  { provider, reference, id }: Pick<ModelPayment, "provider" | "reference" | "id">,
  message: { kind: "paid" | "wrong" | "bare" | "cancelled" | "timeout"; receipt: string; isSigned?: boolean },
): { headers: Record<string, string>; body: string } {
  if (provider === "zenopay") {
    const status = message.kind === "cancelled" || message.kind === "timeout" ? "FAILED" : "COMPLETED";
    const headers: Record<string, string> =
      message.isSigned === false ? {} : { "x-api-key": providerEnv("zenopay", "").ZENOPAY_API_KEY ?? "" };
    return {
      headers,
      body: JSON.stringify({ ...fixture("zenopay", "webhook-completed").body, order_id: id, payment_status: status }),
    };
  }
  const { amountMinor } = providersOf.daraja;
  const paid = {
    Amount: message.kind === "wrong" ? amountMinor / 100 + 1 : amountMinor / 100,
    MpesaReceiptNumber: message.receipt,
  };
  const items = Object.entries(paid).map(([Name, Value]) => ({ Name, Value }));
  const callback = {
    paid: { ResultCode: 0, CallbackMetadata: { Item: items } },
    wrong: { ResultCode: 0, CallbackMetadata: { Item: items } },
    bare: { ResultCode: 0 },
    cancelled: { ResultCode: 1032 },
    timeout: { ResultCode: 1037 },
  }[message.kind];
  return {
    headers: {},
    body: JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: reference, ...callback } } }),
  };
}
