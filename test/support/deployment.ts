/**
 * Parts of a deployment that tests break: a provider that holds its answers, and payments with reconnecting watchers.
 * `expectInvariants` checks the guarantees after any sequence of faults.
 */
import pg from "pg";
import { expect, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { asMerchant, nodeAt, pay, type TestNode } from "./node.ts";
import { clientNames, type ReconnectingWatch, startReconnectingWatch } from "./reconnecting-watch.ts";
import { startRedis } from "./redis.ts";
import { type HeldPush, type ScriptedDaraja, startScriptedDaraja, success } from "./scripted-daraja.ts";

/** Functions to run when a test or a file is over, in reverse order. */
export interface Cleanups {
  add(end: () => unknown): void;
  runAll(): Promise<void>;
}

export function createCleanups(): Cleanups {
  const cleanups: (() => unknown)[] = [];
  return {
    add: (end) => void cleanups.push(end),
    async runAll() {
      for (const end of cleanups.splice(0).reverse()) await end();
    },
  };
}

/** Starts a separate Redis, because the shared one also counts other tests' requests. */
export async function openRedis(cleanups: Cleanups): Promise<string> {
  const redis = await startRedis();
  cleanups.add(redis.stop);
  return redis.url;
}

/** The environment of a node without effective rate and connection limits. */
export const unlimited = {
  LIMIT_IP: "1000000",
  LIMIT_CONNECTIONS: "1000000",
  LIMIT_ORDER: "1000000",
  LIMIT_PHONE: "1000000",
};

/** The provider's record: the first push and the number of pushes of each payment. */
export interface PushLog {
  env: Record<string, string>;
  pushCounts: ReadonlyMap<string, number>;
  /** Waits for the first push of this payment. */
  push(paymentId: string): Promise<HeldPush>;
}

export async function openPushLog(cleanups: Cleanups): Promise<PushLog> {
  const daraja: ScriptedDaraja = await startScriptedDaraja(cleanups.add);
  const pushCounts = new Map<string, number>();
  const pushes = new Map<string, HeldPush>();
  const record = (push: HeldPush): void => {
    const id = paymentIdOf(push.callbackUrl);
    pushCounts.set(id, (pushCounts.get(id) ?? 0) + 1);
    if (!pushes.has(id)) pushes.set(id, push);
    void daraja.nextPush().then(record);
  };
  void daraja.nextPush().then(record);
  return {
    env: daraja.env,
    pushCounts,
    push: (paymentId) => vi.waitUntil(() => pushes.get(paymentId), { interval: 5 }),
  };
}

/** Reads the payment's id, with which the secret of a webhook's URL begins. */
function paymentIdOf(callbackUrl: string): string {
  const hex = new URL(callbackUrl).pathname.split("/").at(-1)?.slice(0, 32) ?? "";
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Posts Safaricom's callback to one node. Returns the answer's status, or undefined without an answer. */
export async function post(node: Pick<TestNode, "url">, push: HeldPush, callback: object): Promise<number | undefined> {
  const { pathname } = new URL(push.callbackUrl);
  const ids = { MerchantRequestID: "1-2-3", CheckoutRequestID: push.reference };
  const body = JSON.stringify({ Body: { stkCallback: { ...ids, ...callback } } });
  const headers = { "content-type": "application/json" };
  try {
    const answer = await fetch(node.url + pathname, {
      method: "POST",
      headers,
      body,
      signal: AbortSignal.timeout(10_000),
    });
    await answer.arrayBuffer();
    return answer.status;
  } catch {
    return undefined;
  }
}

/** Repeats the webhook until the node answers 200, as a provider does. */
export async function deliver(node: Pick<TestNode, "url">, push: HeldPush, callback: object): Promise<void> {
  await vi.waitUntil(async () => (await post(node, push, callback)) === 200, { timeout: 60_000, interval: 100 });
}

/** One payment and its watchers. */
export interface WatchedOrder {
  order: StatusEvent;
  orderId: string;
  token: string;
  watches: ReconnectingWatch[];
  /** Adds one watcher per client type at this address and returns the new ones. */
  addWatchers(url: string): ReconnectingWatch[];
  /** Waits until every watcher has received this version or a newer one. */
  reachVersion(version: number): Promise<void>;
  close(): void;
}

/** A watched payment that the provider has accepted. */
export interface Journey extends WatchedOrder {
  push: HeldPush;
}

/** Starts a payment at the first address and adds watchers of every client type at all addresses. */
export async function openWatchedOrder(urls: readonly string[]): Promise<WatchedOrder> {
  const [url = ""] = urls;
  const { order, watchToken: token } = await pay(nodeAt(url));
  const { orderId } = order;
  const watches: ReconnectingWatch[] = [];
  const watched: WatchedOrder = {
    order,
    orderId,
    token,
    watches,
    addWatchers(where) {
      const more = clientNames.map((name) => startReconnectingWatch(name, { url: where, orderId, token }));
      watches.push(...more);
      return more;
    },
    async reachVersion(version) {
      await Promise.all(watches.map((one) => one.until((event) => event.version >= version)));
    },
    close() {
      for (const one of watches) one.close();
    },
  };
  for (const where of urls) watched.addWatchers(where);
  await watched.reachVersion(1);
  return watched;
}

/** Opens a watched order, accepts its push and waits until every watcher has version 2. */
export async function beginJourney(pushLog: PushLog, urls: readonly string[]): Promise<Journey> {
  const watched = await openWatchedOrder(urls);
  const push = await pushLog.push(watched.order.payment.id);
  push.accept();
  await watched.reachVersion(2);
  return { ...watched, push };
}

export const failure = { ResultCode: 1032, ResultDesc: "Request cancelled by user" };

export { success };

interface Row {
  order_id: string;
  version: number;
  status: string;
  versions: number[];
  statuses: string[];
}

/**
 * Checks database, provider and watchers for G2, G3, G4, G5, G9 and G10. Every watcher must have the newest state when this is
 * called.
 */
export async function expectInvariants(
  { databaseUrl, pushLog, url }: { databaseUrl: string; pushLog: PushLog; url: string },
  journeys: readonly Pick<WatchedOrder, "orderId" | "watches">[],
): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  try {
    const { rows } = await client.query<Row>(
      `select order_id, version, status,
              (select array_agg(version order by version) from event where order_uuid = o.id) as versions,
              (select array_agg(status order by version) from event where order_uuid = o.id) as statuses
       from "order" o`,
    );
    for (const { order_id, version, status, versions, statuses } of rows) {
      expect(versions, `versions of ${order_id}`).toEqual(Array.from({ length: version }, (_, index) => index + 1));
      expect(statuses.at(-1), `the last event of ${order_id}`).toBe(status);
      const paidAt = statuses.indexOf("succeeded");
      const since = paidAt < 0 ? [] : statuses.slice(paidAt);
      expect(new Set(since).size, `${order_id} once paid: ${since}`).toBeLessThanOrEqual(1);
    }
    const { rows: forgotten } = await client.query(
      `select id, status from payment where status in ('pending', 'processing')
       and (check_at is null or check_at > greatest(expires_at, clock_timestamp()) + interval '61 seconds')`,
    );
    expect(forgotten, "open payments without a due check").toEqual([]);
  } finally {
    await client.end();
  }
  expect(
    [...pushLog.pushCounts.values()].filter((times) => times !== 1),
    "payments with more than one push",
  ).toEqual([]);
  for (const { orderId, watches } of journeys) {
    const { body } = await asMerchant(nodeAt(url), `/v1/orders/${orderId}`);
    for (const { client, seen, refusals } of watches) {
      const versions = seen.map(({ version }) => version);
      expect(versions, `${client} sees only rising versions`).toEqual(
        [...new Set(versions)].toSorted((one, two) => one - two),
      );
      expect(seen.at(-1), `${client} has the database's state`).toEqual(body.order);
      expect(refusals, `${client} is never refused for good`).toBe(0);
    }
  }
}
