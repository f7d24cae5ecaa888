/**
 * A node is killed at every step of a payment, while another one lives: the money is asked for once, the payment ends
 * as if nothing had happened, and watchers find everything at the other one. Then nodes are replaced under load.
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

// Faults take as long to be found as they take; a busy machine longer.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let databaseUrl: string;
let pushLog: PushLog;
let env: Record<string, string>;
/** The node that lives. */
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
  /** Its way to PostgreSQL, and to the provider. */
  store: TcpProxy;
  provider: TcpProxy;
  /** Where clients go: to this node, and to the other one when it is gone. */
  front: TcpProxy;
  kill(): Promise<void>;
}

/** A node to be killed. */
async function startDoomed(more: Record<string, string> = {}): Promise<Doomed> {
  const store = await startTcpProxy(databaseUrl);
  const provider = await startTcpProxy(pushLog.env.DARAJA_BASE_URL ?? "");
  const node = await startProcess({ ...env, DARAJA_BASE_URL: provider.url, DATABASE_URL: store.url, ...more });
  onTestFinished(node.close);
  // Has it connect as for a webhook, which therefore goes as far as it is let.
  await call(`${node.url}/readyz`);
  const front = await startTcpProxy(node.url);
  front.targets = [node.url, other.url];
  return { node, store, provider, front, kill: async () => void (await node.end("SIGKILL")) };
}

const kept = (journeys: Parameters<typeof expectInvariants>[1]): Promise<void> =>
  expectInvariants({ databaseUrl, pushLog, url: other.url }, journeys);

const holds = (proxy: TcpProxy, text: string): Promise<unknown> =>
  vi.waitUntil(() => proxy.isHolding(text), { interval: 2 });

/** Resolves when the order's version is in the database, whoever knows of it. */
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

describe("a node that is killed", () => {
  it("before it asked the provider: nobody asks, and the deadline ends the payment", async () => {
    const doomed = await startDoomed({ DARAJA_DEADLINE_S: "2" });
    doomed.provider.stall("requests");
    const journey = await openWatchedOrder([doomed.front.url, other.url]);
    onTestFinished(journey.close);
    await doomed.kill();
    doomed.provider.restore();
    await journey.reachVersion(2);
    expect(journey.watches[0]?.seen.at(-1)).toMatchObject({ status: "expired", reason: "deadline" });
    expect(pushLog.pushCounts.has(journey.order.payment.id)).toBe(false);
    await kept([journey]);
  });

  it("after the provider took the request, before that is recorded: nobody asks again, and the webhook settles it", async () => {
    const doomed = await startDoomed();
    const journey = await openWatchedOrder([doomed.front.url, other.url]);
    onTestFinished(journey.close);
    const push = await pushLog.push(journey.order.payment.id);
    doomed.store.stall("requests");
    push.accept();
    await holds(doomed.store, push.reference);
    await doomed.kill();
    await deliver(other, push, success());
    await journey.reachVersion(2);
    await kept([journey]);
  });

  it("while it records a webhook: the provider hears nothing, tells again, and is believed", async () => {
    const doomed = await startDoomed();
    const journey = await beginJourney(pushLog, [doomed.front.url, other.url]);
    onTestFinished(journey.close);
    doomed.store.stall("requests");
    const paid = success();
    const unanswered = post(doomed.node, journey.push, paid);
    await holds(doomed.store, "pay-batch");
    await doomed.kill();
    expect(await unanswered).toBeUndefined();
    await deliver(other, journey.push, paid);
    await journey.reachVersion(3);
    await kept([journey]);
  });

  it("between the commit and telling of it: the other node's watchers find it, and its own find it there", async () => {
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
    await kept([journey]);
  });

  it("before it sent a watcher the first state: the other one sends it", async () => {
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
    await kept([journey]);
  });
});

/** Both kinds of WebSocket, the stream and the poll were answered, and none of it went through. */
const holdsHandshakes = (proxy: TcpProxy): boolean =>
  proxy.isHolding("101 Switching Protocols") && proxy.isHolding("text/event-stream") && proxy.isHolding('"version":2');

describe("a watcher whose connection breaks before it heard anything", () => {
  it("comes back and is sent the state, on every transport", async () => {
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
    await kept([journey]);
  });
});

describe("three nodes that are replaced one after the other under load", () => {
  it("end with 0, and every payment begun meanwhile is paid and shown to its watcher", async () => {
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
    /** One customer after the other, each insisting on being served, whoever it is that serves. */
    const buy = async (count: number): Promise<void> => {
      for (let turn = 0; !isOver; turn += 1) {
        const { orderId, order, token } = await insist(front.url);
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
      // Business goes on with what there is now.
      await vi.waitUntil(() => watches.length > before);
    }
    isOver = true;
    await customers;
    expect(codes).toEqual([0, 0, 0]);
    await kept(watches);
  });
});

/** Starts a payment as a merchant does who must know: with a key, again until it is answered. */
async function insist(url: string) {
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
