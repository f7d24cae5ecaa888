/**
 * A site to break: two or more processes over one database, a payment provider that answers when told, and watchers that
 * come back. Keeps what is needed to hold Tukio to its promises afterwards, whatever happened in between.
 */
import pg from "pg";
import { expect, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { asMerchant, nodeAt, pay, type TestNode } from "./node.ts";
import { clientNames, type ReconnectingWatch, startReconnectingWatch } from "./reconnecting-watch.ts";
import { startRedis } from "./redis.ts";
import { type HeldPush, type ScriptedDaraja, startScriptedDaraja, success } from "./scripted-daraja.ts";

/** What must be undone, last first, when the tests of a file or one test are over. */
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

/** A Redis of one's own: what is counted in the shared one for limits is other tests' business. */
export async function openRedis(cleanups: Cleanups): Promise<string> {
  const redis = await startRedis();
  cleanups.add(redis.stop);
  return redis.url;
}

/** The environment of a node that refuses nobody for coming often. */
export const unlimited = {
  LIMIT_IP: "1000000",
  LIMIT_CONNECTIONS: "1000000",
  LIMIT_ORDER: "1000000",
  LIMIT_PHONE: "1000000",
};

/** The payment provider's side: every push by the payment it is for, and how often each payment was asked for. */
export interface PushLog {
  env: Record<string, string>;
  pushCounts: ReadonlyMap<string, number>;
  /** The first push of this payment, as soon as it is there. */
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

/** The secret of a webhook's URL begins with the payment's id. */
function paymentIdOf(callbackUrl: string): string {
  const hex = new URL(callbackUrl).pathname.split("/").at(-1)?.slice(0, 32) ?? "";
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Posts what Safaricom would to one node; what was answered, or undefined when nothing was. */
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

/** Posts again and again, as a provider does that believes nothing but a 2xx. */
export async function deliver(node: Pick<TestNode, "url">, push: HeldPush, callback: object): Promise<void> {
  await vi.waitUntil(async () => (await post(node, push, callback)) === 200, { timeout: 60_000, interval: 100 });
}

/** One payment and who watches it. */
export interface WatchedOrder {
  order: StatusEvent;
  orderId: string;
  token: string;
  watches: ReconnectingWatch[];
  /** A watcher on each of the transports more. */
  addWatchers(url: string): ReconnectingWatch[];
  /** Resolves when every watcher was sent this version or a newer one. */
  reachVersion(version: number): Promise<void>;
  close(): void;
}

/** A payment that the provider has accepted. */
export interface Journey extends WatchedOrder {
  push: HeldPush;
}

/** Starts a payment at the first address and has it watched on every transport at all of them. */
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

/** The same, until the provider has accepted and every watcher knows. */
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

/** Holds the database, the provider and every watcher to the promises. Each watcher must have the newest state by now. */
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
    expect(forgotten, "open payments that nobody will ask about").toEqual([]);
  } finally {
    await client.end();
  }
  expect(
    [...pushLog.pushCounts.values()].filter((times) => times !== 1),
    "payments asked for again",
  ).toEqual([]);
  for (const { orderId, watches } of journeys) {
    const { body } = await asMerchant(nodeAt(url), `/v1/orders/${orderId}`);
    for (const { client, seen, refusals } of watches) {
      const versions = seen.map(({ version }) => version);
      expect(versions, `${client} goes up only`).toEqual([...new Set(versions)].toSorted((one, two) => one - two));
      expect(seen.at(-1), `${client} has the database's state`).toEqual(body.order);
      expect(refusals, `${client} is never told to stay away`).toBe(0);
    }
  }
}
