/**
 * One of two nodes is killed at each step of a payment. The provider gets one push, the payment ends normally, and watchers
 * reconnect to the other node. Then nodes are replaced under load.
 */
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import {
  beginJourney,
  createCleanups,
  deliver,
  expectInvariants,
  openPushLog,
  openRedis,
  openWatchedOrder,
  type PushLog,
  post,
  success,
  unlimited,
} from "../support/deployment.ts";
import { asMerchant, call, nodeAt, paymentBody } from "../support/node.ts";
import { type NodeProcess, startProcess } from "../support/process.ts";
import { clientNames, type ReconnectingWatch, startReconnectingWatch } from "../support/reconnecting-watch.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";

// 120 s, because detecting a fault takes longer on a busy machine.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let databaseUrl: string;
let pushLog: PushLog;
let env: Record<string, string>;
/** The node that survives. */
let other: NodeProcess;

beforeAll(async () => {
  const cleanups = createCleanups();
  const database = await createDatabase();
  databaseUrl = database.url;
  cleanups.add(database.drop);
  pushLog = await openPushLog(cleanups);
  env = { DATABASE_URL: databaseUrl, REDIS_URL: await openRedis(cleanups), ...unlimited, ...pushLog.env };
  other = await startProcess(env);
  cleanups.add(other.close);
  return cleanups.runAll;
});

interface Doomed {
  node: NodeProcess;
  /** The proxies between this node and PostgreSQL, and between this node and the provider. */
  store: TcpProxy;
  provider: TcpProxy;
  /** The proxy for clients: it connects to this node, or to the other one when this one is gone. */
  front: TcpProxy;
  kill(): Promise<void>;
}

/** Starts a node that the test kills. */
async function startDoomed(more: Record<string, string> = {}): Promise<Doomed> {
  const store = await startTcpProxy(databaseUrl);
  const provider = await startTcpProxy(pushLog.env.DARAJA_BASE_URL ?? "");
  const node = await startProcess({ ...env, DARAJA_BASE_URL: provider.url, DATABASE_URL: store.url, ...more });
  onTestFinished(node.close);
  // Opens the webhook pool's connection, so that a later webhook only has to send its statement.
  await call(`${node.url}/readyz`);
  const front = await startTcpProxy(node.url);
  front.targets = [node.url, other.url];
  return { node, store, provider, front, kill: async () => void (await node.end("SIGKILL")) };
}

const checkInvariants = (journeys: Parameters<typeof expectInvariants>[1]): Promise<void> =>
  expectInvariants({ databaseUrl, pushLog, url: other.url }, journeys);

const isHeld = (proxy: TcpProxy, text: string): Promise<unknown> =>
  vi.waitUntil(() => proxy.isHolding(text), { interval: 2 });

/** Waits until the order's version is committed, without asking a node. */
async function committed(orderId: string, version: number): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  try {
    const look = () => client.query('select from "order" where order_id = $1 and version >= $2', [orderId, version]);
    await vi.waitUntil(async () => (await look()).rowCount === 1, { interval: 10 });
  } finally {
    await client.end();
  }
}

describe("a killed node", () => {
  it("leaves a payment that expires when it dies before the push (G9, G10)", async () => {
    const doomed = await startDoomed({ DARAJA_DEADLINE_S: "2" });
    doomed.provider.stall("requests");
    const journey = await openWatchedOrder([doomed.front.url, other.url]);
    onTestFinished(journey.close);
    await doomed.kill();
    doomed.provider.restore();
    await journey.reachVersion(2);
    expect(journey.watches[0]?.seen.at(-1)).toMatchObject({ status: "expired", reason: "deadline" });
    expect(pushLog.pushCounts.has(journey.order.payment.id)).toBe(false);
    await checkInvariants([journey]);
  });

  it("leaves a payment that the webhook settles without a second push when it dies before it stores the reference (G10)", async () => {
    const doomed = await startDoomed();
    const journey = await openWatchedOrder([doomed.front.url, other.url]);
    onTestFinished(journey.close);
    const push = await pushLog.push(journey.order.payment.id);
    doomed.store.stall("requests");
    push.accept();
    await isHeld(doomed.store, push.reference);
    await doomed.kill();
    await deliver(other, push, success());
    await journey.reachVersion(2);
    await checkInvariants([journey]);
  });

  it("answers nothing when it dies before the commit of a webhook, and the repeated webhook is applied (G1)", async () => {
    const doomed = await startDoomed();
    const journey = await beginJourney(pushLog, [doomed.front.url, other.url]);
    onTestFinished(journey.close);
    doomed.store.stall("requests");
    const paid = success();
    const unanswered = post(doomed.node, journey.push, paid);
    await isHeld(doomed.store, "pay-batch");
    await doomed.kill();
    expect(await unanswered).toBeUndefined();
    await deliver(other, journey.push, paid);
    await journey.reachVersion(3);
    await checkInvariants([journey]);
  });

  it("loses no state when it dies between commit and publication: all watchers get it from the other node (G4)", async () => {
    const doomed = await startDoomed();
    const journey = await beginJourney(pushLog, [doomed.front.url, other.url]);
    onTestFinished(journey.close);
    doomed.store.stall("answers");
    const paid = success();
    const unanswered = post(doomed.node, journey.push, paid);
    await committed(journey.orderId, 3);
    await doomed.kill();
    expect(await unanswered).toBeUndefined();
    await journey.reachVersion(3);
    await deliver(other, journey.push, paid);
    await checkInvariants([journey]);
  });

  it("loses no watcher when it dies before it sends the first state (G4)", async () => {
    const doomed = await startDoomed();
    const journey = await beginJourney(pushLog, [other.url]);
    onTestFinished(journey.close);
    doomed.front.stall("answers");
    const late = journey.addWatchers(doomed.front.url);
    await vi.waitUntil(() => holdsHandshakes(doomed.front));
    await doomed.kill();
    doomed.front.restore();
    await journey.reachVersion(2);
    for (const { seen } of late) expect(seen.map(({ version }) => version)).toEqual([2]);
    await checkInvariants([journey]);
  });
});

/** Whether the proxy holds the answers to both kinds of WebSocket, the event stream and the poll. */
const holdsHandshakes = (proxy: TcpProxy): boolean =>
  proxy.isHolding("101 Switching Protocols") && proxy.isHolding("text/event-stream") && proxy.isHolding('"version":2');

describe("a watcher whose connection breaks before its first state", () => {
  it("reconnects and receives the state, on every transport", async () => {
    const front = await startTcpProxy(other.url);
    const journey = await beginJourney(pushLog, [other.url]);
    onTestFinished(journey.close);
    front.stall("answers");
    const late = journey.addWatchers(front.url);
    await vi.waitUntil(() => holdsHandshakes(front));
    front.drop();
    front.restore();
    await journey.reachVersion(2);
    for (const { seen } of late) expect(seen.map(({ version }) => version)).toEqual([2]);
    await checkInvariants([journey]);
  });
});

describe("three nodes replaced one after the other under load", () => {
  it("exit with 0, and every payment started meanwhile is paid and delivered to its watcher (G4, G10)", async () => {
    const start = async (): Promise<NodeProcess> => {
      const node = await startProcess(env);
      onTestFinished(node.close);
      return node;
    };
    const nodes = await Promise.all([start(), start(), start()]);
    const front = await startTcpProxy(nodes[0]?.url ?? "");
    const route = (): void => {
      front.targets = nodes.map(({ url }) => url);
    };
    route();

    let isOver = false;
    const watches: { orderId: string; watches: ReconnectingWatch[] }[] = [];
    /** Runs one customer after the other. Each repeats its requests until a node answers. */
    const buy = async (count: number): Promise<void> => {
      for (let turn = 0; !isOver; turn += 1) {
        const { orderId, order, token } = await payUntilAnswered(front.url);
        const client = clientNames[(count + turn) % clientNames.length] ?? "SDK";
        const watching = startReconnectingWatch(client, { url: front.url, orderId, token });
        onTestFinished(watching.close);
        watches.push({ orderId, watches: [watching] });
        const push = await pushLog.push(order.payment.id);
        push.accept();
        await deliver(nodeAt(front.url), push, success());
        await watching.until(({ status }) => status === "succeeded");
      }
    };
    const customers = Promise.all([0, 1].map(buy));
    const codes: (number | null)[] = [];
    for (let index = 0; index < nodes.length; index += 1) {
      const old = nodes[index];
      if (!old) throw new Error("there are three nodes");
      const before = watches.length;
      const [[code], fresh] = await Promise.all([old.end("SIGTERM"), start()]);
      codes.push(code);
      nodes[index] = fresh;
      route();
      // A payment must start with the present nodes before the next one is replaced.
      await vi.waitUntil(() => watches.length > before);
    }
    isOver = true;
    await customers;
    expect(codes).toEqual([0, 0, 0]);
    await checkInvariants(watches);
  });
});

/** Starts a payment like a merchant's backend: repeats the request with its idempotency key until a node answers 202. */
async function payUntilAnswered(url: string) {
  const body = paymentBody();
  const headers = { "idempotency-key": String(body.orderId) };
  const attempt = () => asMerchant(nodeAt(url), "/v1/payments", body, headers).catch(() => undefined);
  const { body: answer } = await vi.waitUntil(
    async () => {
      const result = await attempt();
      return result?.status === 202 && result;
    },
    { timeout: 30_000, interval: 50 },
  );
  return { order: answer.order, orderId: answer.order.orderId, token: answer.watchToken };
}
