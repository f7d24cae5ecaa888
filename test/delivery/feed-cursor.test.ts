/** The cursors of the feed: among many events of other types, and with transactions that commit late. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { currentPlace, placeSince, readFeed, removeForeign } from "../../server/delivery/feed.ts";
import { createFeedTail } from "../../server/delivery/feed-tail.ts";
import type { Message } from "../../server/delivery/message.ts";
import { replay } from "../../server/delivery/replay.ts";
import { createOrderStore, type OrderStore } from "../../server/order/store.ts";
import { useDatabase } from "../support/database.ts";
import { testSecret } from "../support/node.ts";
import { draftOf, failed } from "../support/store.ts";

const file = useDatabase();
let store: OrderStore;

beforeAll(() => {
  store = createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });
});

const pool = () => file.database.pool;

async function openOrder(): Promise<{ id: string; paymentId: string }> {
  const { event, payment } = await store.open(draftOf());
  return { id: event.id, paymentId: payment?.id ?? "" };
}

/** Copies an order and its events `count` times, each in a transaction of its own, as nodes write them. */
const copy = (id: string, count: number) =>
  pool().query(
    `do $$ begin
      for n in 1..${count} loop
        with made as (
          insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
          select gen_random_uuid(), order_id || '-' || n, amount_minor, currency, version, status, attempt, payment, opened_at, clock_timestamp()
          from "order" where id = '${id}' returning id, changed_at
        )
        insert into event (order_uuid, version, status, payment, also_paid, occurred_at)
        select made.id, version, status, payment, also_paid, made.changed_at from made, event where order_uuid = '${id}';
        commit;
      end loop;
    end $$`,
  );

/** Ids as they are in the feed: order and version. */
const place = (id: string, version: number): string => `${id}.0.${version}`;

const ids = (messages: readonly Message[]): string[] => messages.map(({ id }) => id);

/** Reads page after page, and returns the ids. */
async function readAll(start: string, limit: number, type?: string): Promise<string[]> {
  const seen: string[] = [];
  for (let cursor: string | undefined = start; cursor !== undefined; ) {
    const page = await readFeed(pool(), { cursor, type, limit });
    seen.push(...ids(page.data));
    cursor = page.hasMore ? page.nextCursor : undefined;
  }
  return seen;
}

/** Begins a transaction that has written version 2 of an order, and returns its commit. */
async function writeLate(id: string): Promise<() => Promise<void>> {
  const client = await pool().connect();
  onTestFinished(() => client.release(true));
  await client.query("begin");
  await client.query(
    `insert into event (order_uuid, version, status, payment, also_paid, occurred_at)
     select id, 2, status, payment, also_paid, clock_timestamp() from "order" where id = $1`,
    [id],
  );
  return async () => void (await client.query("commit"));
}

/** Follows the feed; it takes as many messages as `allow` has allowed. */
async function follow(cursor: string, type?: string) {
  const onError = vi.fn();
  const tail = createFeedTail({ pool: pool(), onError, onRecovered: () => undefined });
  onTestFinished(tail.close);
  const received: string[] = [];
  let allowed = 0;
  await tail.follow({
    cursor,
    type,
    isReady: () => received.length < allowed,
    receive: ({ id }) => void received.push(id),
  });
  const allow = (count: number): void => {
    allowed = count;
    tail.wake();
  };
  return { received, allow, onError };
}

describe("the feed", () => {
  it("reaches the end among more than 1,000 events, also with a rare type", async () => {
    const start = await currentPlace(pool());
    const first = await openOrder();
    await copy(first.id, 1_300);
    const rare = await openOrder();
    await store.advance(rare.paymentId, failed());
    const all = await readAll(start, 200);
    expect(all).toHaveLength(1_303);
    expect(new Set(all).size).toBe(1_303);
    expect(all.at(-1)).toBe(place(rare.id, 2));
    expect(await readAll(start, 200, "order.failed")).toEqual([place(rare.id, 2)]);
    const stream = await follow(start, "order.failed");
    stream.allow(1);
    await vi.waitUntil(() => stream.received.length === 1);
    expect(stream.received).toEqual([place(rare.id, 2)]);
    expect(stream.onError).not.toHaveBeenCalled();
  });

  it("has a late event after each cursor of a page", async () => {
    const start = await currentPlace(pool());
    const late = [await openOrder(), await openOrder(), await openOrder()];
    const commits = [];
    for (const { id } of late) commits.push(await writeLate(id));
    const early = [await openOrder(), await openOrder()];
    const firsts = [...late, ...early].map(({ id }) => place(id, 1));
    const pages = [];
    for (let cursor = start; pages.length < firsts.length; ) {
      const page = await readFeed(pool(), { cursor, limit: 1 });
      pages.push(page);
      cursor = page.nextCursor;
    }
    expect(pages.flatMap(({ data }) => ids(data))).toEqual(firsts);
    // The middle one is still in progress when the others are read.
    await commits[2]?.();
    await commits[0]?.();
    const lateIds = late.map(({ id }) => place(id, 2));
    const [late0 = "", , late2 = ""] = lateIds;
    for (const [nth, { nextCursor }] of pages.entries()) {
      const expected = [late0, late2, ...firsts.slice(nth + 1)];
      const rest = await readAll(nextCursor, 200);
      expect(rest).toHaveLength(expected.length);
      expect(new Set(rest)).toEqual(new Set(expected));
      // A page that is cut after a late event: the reader may receive the event again that it had before.
      expect(new Set([...(await readAll(nextCursor, 1)), firsts[nth]])).toEqual(new Set([...expected, firsts[nth]]));
    }
    const cursor = pages.at(-1)?.nextCursor ?? "";
    const afterLate0 = (await readFeed(pool(), { cursor, limit: 1 })).nextCursor;
    await commits[1]?.();
    expect(await readAll(afterLate0, 200)).toEqual(lateIds.slice(1));
    expect(await readAll(cursor, 200)).toEqual(lateIds);
  });

  it("has a late event after the cursor of each message of a stream", async () => {
    const start = await currentPlace(pool());
    const late = await openOrder();
    const commit = await writeLate(late.id);
    const early = [await openOrder(), await openOrder()];
    const { cursors, nextCursor } = await readFeed(pool(), { cursor: start, limit: 200 });
    await commit();
    expect(cursors).toHaveLength(3);
    for (const cursor of [...cursors, nextCursor]) expect(await readAll(cursor, 200)).toContain(place(late.id, 2));
    expect(await readAll(cursors[2] ?? "", 200)).toEqual([place(late.id, 2)]);
    expect(await readAll(cursors[1] ?? "", 200)).toEqual([place(late.id, 2), place(early[1]?.id ?? "", 1)]);
  });

  it("sends a late event to a stream whose reader was not ready", async () => {
    const start = await currentPlace(pool());
    const late = await openOrder();
    const commit = await writeLate(late.id);
    const early = [await openOrder(), await openOrder()];
    const stream = await follow(start);
    stream.allow(2);
    await vi.waitUntil(() => stream.received.length === 2);
    await commit();
    stream.allow(4);
    await vi.waitUntil(() => stream.received.length === 4);
    expect(stream.received).toEqual([
      place(late.id, 1),
      place(early[0]?.id ?? "", 1),
      place(late.id, 2),
      place(early[1]?.id ?? "", 1),
    ]);
  });
});

describe("a database that was restored into another cluster", () => {
  it("has what changes from then on in the feed, and replays what changed before", async () => {
    const endpoints = createEndpoints({
      pool: pool(),
      sealer: createSealer([testSecret]),
      onUnreadable: () => undefined,
    });
    const { endpoint } = await endpoints.create({ url: "https://shop.example.com/", events: ["order.failed"] });
    const before = await openOrder();
    await store.advance(before.paymentId, failed());
    const cursor = await currentPlace(pool());
    await copy(before.id, 1_100);
    // A transaction numbers its events as the other cluster did; a restore keeps the numbers. Some are as small as those of this cluster.
    await pool().query("update event set xid = (xid::text::bigint + 5000000)::text::xid8 where order_uuid <> $1", [
      before.id,
    ]);
    const epoch = (await pool().query("select start_epoch() as epoch")).rows[0].epoch;
    onTestFinished(() =>
      pool()
        .query("update timeline set epoch = 0")
        .then(() => undefined),
    );
    const since = (await pool().query("select clock_timestamp() as at")).rows[0].at;
    expect(await removeForeign(pool())).toBe(true);
    while (await removeForeign(pool()));
    const after = await openOrder();
    await store.advance(after.paymentId, failed());
    const added = [1, 2].map((version) => `${after.id}.${epoch}.${version}`);
    for (const start of [cursor, await placeSince(pool(), since)]) {
      const { data } = await readFeed(pool(), { cursor: start, since, limit: 200 });
      expect(ids(data)).toEqual(added);
    }
    expect((await readAll(cursor, 200)).slice(-2)).toEqual(added);
    expect(await replay(pool(), endpoint.id, { since })).toBe(1);
    const { rows } = await pool().query(`select count(*)::int as failed from "order" where status = 'failed'`);
    expect(await replay(pool(), endpoint.id, { since: new Date(0) })).toBe(rows[0].failed);
  });
});
