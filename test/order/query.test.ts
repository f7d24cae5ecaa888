/** What the merchant's backend reads: one order with its history, lists, and changed orders. */
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import type { StatusEvent } from "../../server/order/order.ts";
import { createOrderQuery, type OrderFilter, type OrderQuery } from "../../server/order/query.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { failed, nextOrderId, openTestStore, paid, type TestStore } from "../support/store.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

/** Opens a database for one test, because a list reads all orders. */
async function openGround(): Promise<TestStore> {
  const ground = await openTestStore();
  onTestFinished(ground.close);
  return ground;
}

/** Opens `count` orders, each one second after the previous one, the last one now. */
async function openSecondsApart(ground: TestStore, count: number): Promise<StatusEvent[]> {
  const events: StatusEvent[] = [];
  for (let index = 0; index < count; index += 1) {
    const { event } = await ground.open();
    const { rows } = await ground.database.pool.query(
      `update "order" set opened_at = opened_at - $2 * interval '1 second', changed_at = changed_at - $2 * interval '1 second'
       where id = $1 returning opened_at`,
      [event.id, count - 1 - index],
    );
    const at = rows[0].opened_at.toISOString();
    events.push({ ...event, openedAt: at, occurredAt: at });
  }
  return events;
}

/** Moves the orders' times of change by `seconds`. */
async function shift(ground: TestStore, ids: readonly string[], seconds: number): Promise<void> {
  await ground.database.pool.query(
    `update "order" set changed_at = changed_at + $2 * interval '1 second' where id = any ($1::uuid[])`,
    [ids, seconds],
  );
}

/** Opens a transaction and a store that writes in it: its pool has one connection. No change is visible before `commit`. */
async function openTransaction(ground: TestStore) {
  const pool = new pg.Pool({ ...ground.database.pool.options, max: 1 });
  // An ended pool may still have a connection when the database is dropped, which then emits an error.
  pool.on("error", () => undefined).on("connect", (client) => client.on("error", () => undefined));
  onTestFinished(() => pool.end());
  await pool.query("begin");
  const database = { ...ground.database, pool };
  const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: [] });
  return { pool, store, commit: () => pool.query("commit") };
}

const processing = { status: "processing", source: "reply" } as const;

/** Makes a change whose statement began 4 s ago, and that is not committed. */
async function holdChange(ground: TestStore, paymentId: string): Promise<{ commit(): Promise<unknown> }> {
  const { pool, store, commit } = await openTransaction(ground);
  const { event } = await store.advance(paymentId, processing);
  await pool.query(`update "order" set changed_at = changed_at - interval '4 seconds' where id = $1`, [event?.id]);
  return { commit };
}

/** Reads all pages. `between` runs after every page except the last one. */
async function readAllPages(
  query: OrderQuery,
  filter: OrderFilter,
  between: (page: number) => Promise<unknown> = async () => undefined,
): Promise<{ read: StatusEvent[]; pages: number }> {
  const read: StatusEvent[] = [];
  let cursor: string | undefined;
  for (let pages = 1; pages <= 50; pages += 1) {
    const { data, nextCursor } = await query.list({ ...filter, cursor });
    expect(data.length).toBeLessThanOrEqual(filter.limit);
    read.push(...data);
    if (nextCursor === null) return { read, pages };
    cursor = nextCursor;
    await between(pages);
  }
  throw new Error("the pages do not end");
}

const lastChange = (read: readonly StatusEvent[]): Date => new Date(read.at(-1)?.occurredAt ?? Number.NaN);

const idsOf = (events: readonly { id: string }[]): string[] => events.map(({ id }) => id);

const secondsAgo = (seconds: number): Date => new Date(Date.now() - seconds * 1_000);

interface SentStatement {
  text: string;
  values: unknown[];
}

/** Runs `action` and returns the statements that it sent to PostgreSQL. */
async function statementsOf(action: () => Promise<unknown>): Promise<SentStatement[]> {
  const query = vi.spyOn(pg.Client.prototype, "query");
  try {
    await action();
    const calls = query.mock.calls as unknown as [string, unknown[]][];
    return calls.map(([text, values]) => ({ text, values }));
  } finally {
    query.mockRestore();
  }
}

/** Waits until a statement waits for a lock in this database. */
async function waitForLockWaiter(pool: pg.Pool): Promise<void> {
  for (let waiting = 0; waiting === 0; ) {
    const { rows } = await pool.query(`
      select count(*)::int as waiting from pg_locks join pg_database d on d.oid = database
      where datname = current_database() and not granted`);
    waiting = rows[0].waiting;
  }
}

/** Collects uncaught errors until the test ends, because each would end the process. */
function collectUncaughtErrors(): Error[] {
  const uncaught: Error[] = [];
  const otherListeners = process.listeners("uncaughtException");
  const listener = (error: Error) => void uncaught.push(error);
  process.removeAllListeners("uncaughtException").on("uncaughtException", listener);
  onTestFinished(() => {
    process.off("uncaughtException", listener);
    for (const other of otherListeners) process.on("uncaughtException", other);
  });
  return uncaught;
}

describe("find", () => {
  it("returns the state, every attempt with a masked phone, every event, and the merchant's fields", async () => {
    const ground = await openGround();
    const merchantFields = {
      description: "2 tickets",
      customer: { name: "Asha", email: "asha@example.com" },
      metadata: { seat: ["A1", "A2"], nested: { deep: true } },
    };
    const first = await ground.open(merchantFields);
    const { orderId } = first.event;
    await ground.store.advance(first.payment.id, failed({ reason: "wrong_pin" }));
    const second = await ground.open({ orderId, phone: "+254700000001", provider: "zenopay", live: true });
    const action = { type: "prompt", phone: "+2547*****001" } as const;
    await ground.store.advance(second.payment.id, { status: "processing", reference: "ws_2", action, source: "reply" });

    const view = await ground.view(orderId);
    expect(view).toMatchObject(merchantFields);
    expect(view.order).toEqual(ground.announced.at(-1));
    expect(view.events.map(({ source: _, ...state }) => state)).toEqual(ground.announced);
    expect(view.payments).toEqual([
      {
        id: first.payment.id,
        provider: "daraja",
        attempt: 1,
        live: false,
        status: "failed",
        reason: "wrong_pin",
        phone: "+2547*****678",
        startedAt: first.event.payment.startedAt,
        expiresAt: first.event.payment.expiresAt,
      },
      {
        id: second.payment.id,
        provider: "zenopay",
        attempt: 2,
        live: true,
        status: "processing",
        phone: "+2547*****001",
        reference: "ws_2",
        action,
        startedAt: second.event.payment.startedAt,
        expiresAt: second.event.payment.expiresAt,
      },
    ]);
    expect(JSON.stringify(view)).not.toMatch(/712345678|700000001/);
  });

  it("returns the receipt and the amount of a paid payment, and no action", async () => {
    const ground = await openGround();
    const { event, payment } = await ground.open();
    const action = { type: "prompt", phone: "+2547*****678" } as const;
    await ground.store.advance(payment.id, { status: "processing", action, source: "reply" });
    await ground.store.advance(payment.id, paid({ receipt: "R1" }));
    const { payments } = await ground.view(event.orderId);
    expect(payments).toEqual([expect.objectContaining({ receipt: "R1", amountPaidMinor: 15_000 })]);
    expect(payments[0]).not.toHaveProperty("action");
  });

  it("returns null for the fields that the merchant left out", async () => {
    const ground = await openGround();
    const { event } = await ground.open();
    expect(await ground.view(event.orderId)).toMatchObject({ description: null, customer: null, metadata: null });
  });

  it("reads one snapshot: a change during the read shows everywhere or nowhere", async () => {
    const ground = await openGround();
    const { event, payment } = await ground.open();
    const { pool, store, commit } = await openTransaction(ground);
    // A read of the events waits for this lock. An order read in an earlier snapshot would not match its events.
    await pool.query("lock table event in access exclusive mode");
    const finding = ground.query.find(event.orderId);
    await waitForLockWaiter(pool);
    await store.advance(payment.id, processing);
    await commit();
    const view = await finding;
    expect(view?.order).toMatchObject({ version: view?.events.length });
    expect(view?.events.at(-1)).toEqual({ ...view?.order, source: "reply" });
    expect(view?.payments[0]?.status).toBe(view?.order.status);
  });

  it("throws `store_unavailable` when its connection is lost during the read, and causes no uncaught error", async () => {
    const ground = await openGround();
    const { event } = await ground.open();
    const proxy = await startTcpProxy(ground.database.pool.options.connectionString ?? "");
    const database = openDatabase(proxy.url, () => undefined);
    onTestFinished(database.close);
    const query = createOrderQuery(database);
    const uncaught = collectUncaughtErrors();
    const { pool, commit } = await openTransaction(ground);
    await pool.query("lock table event in access exclusive mode");
    const finding = Promise.allSettled([query.find(event.orderId)]);
    await waitForLockWaiter(pool);
    proxy.cut();
    expect(await finding).toMatchObject([{ status: "rejected", reason: { code: "store_unavailable" } }]);
    await commit();
    proxy.restore();
    expect(await query.find(event.orderId)).toMatchObject({ order: event });
    // An error event of a connection without a listener would end the process.
    expect(uncaught).toEqual([]);
  });

  it("takes one round trip", async () => {
    const ground = await openGround();
    const { event } = await ground.open();
    expect(await statementsOf(() => ground.query.find(event.orderId))).toHaveLength(1);
  });

  it("returns undefined for an unknown order", async () => {
    const ground = await openGround();
    expect(await ground.query.find(nextOrderId())).toBeUndefined();
    expect(await ground.query.idOf(nextOrderId())).toBeUndefined();
  });
});

describe("list", () => {
  it("sorts the newest order first, and ends without a cursor", async () => {
    const ground = await openGround();
    expect(await ground.query.list({ limit: 10 })).toEqual({ data: [], nextCursor: null });
    const opened = await openSecondsApart(ground, 4);
    expect(await ground.query.list({ limit: 10 })).toEqual({ data: opened.toReversed(), nextCursor: null });
    expect(await ground.query.list({ limit: 4 })).toEqual({ data: opened.toReversed(), nextCursor: null });
    expect(await ground.query.list({ limit: 3 })).toMatchObject({ nextCursor: expect.any(String) });
  });

  it("shows current states, sorted by the time of opening", async () => {
    const ground = await openGround();
    const { payment } = await ground.open();
    const { event } = await ground.open();
    await ground.store.advance(payment.id, failed());
    const { data } = await ground.query.list({ limit: 10 });
    expect(data).toEqual([event, ground.announced.at(-1)]);
  });

  it.each([1, 2, 3, 7, 8])(
    "shows each order once in pages of %i, with some orders opened at the same time",
    async (limit) => {
      const ground = await openGround();
      const ids = idsOf(await openSecondsApart(ground, 8));
      const tied = ids.slice(1, 7);
      await ground.database.pool.query(
        `update "order" set opened_at = (select max(opened_at) from "order" where id = any ($1)) where id = any ($1)`,
        [tied],
      );
      const { read } = await readAllPages(ground.query, { limit });
      expect(idsOf(read)).toEqual([ids[7], ...tied.toSorted().toReversed(), ids[0]]);
    },
  );

  it("keeps its pages when orders are opened meanwhile", async () => {
    const ground = await openGround();
    const opened = await openSecondsApart(ground, 6);
    const { read } = await readAllPages(ground.query, { limit: 2 }, () => ground.open());
    expect(idsOf(read)).toEqual(idsOf(opened.toReversed()));
  });

  it("filters by status, by provider, or by both, on every page", async () => {
    const ground = await openGround();
    const orders: { id: string; status: string; provider: string }[] = [];
    for (let times = 0; times < 3; times += 1) {
      for (const provider of ["daraja", "zenopay"]) {
        const failing = await ground.open({ provider });
        await ground.store.advance(failing.payment.id, failed());
        orders.unshift({ id: failing.event.id, status: "failed", provider });
        orders.unshift({ id: (await ground.open({ provider })).event.id, status: "pending", provider });
      }
    }
    for (const filter of [
      { status: "failed" },
      { status: "pending" },
      { provider: "zenopay" },
      { provider: "daraja", status: "failed" },
    ] as const) {
      const expected = orders.filter((order) =>
        Object.entries(filter).every(([key, value]) => order[key as "id"] === value),
      );
      const { read } = await readAllPages(ground.query, { ...filter, limit: 2 });
      expect({ filter, read: idsOf(read) }).toEqual({ filter, read: idsOf(expected) });
    }
    expect((await ground.query.list({ status: "review", limit: 2 })).data).toEqual([]);
    expect((await ground.query.list({ provider: "nosuch", limit: 2 })).data).toEqual([]);
  });

  it("filters by the provider of the attempt that the state comes from", async () => {
    const ground = await openGround();
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, failed());
    await ground.open({ orderId: event.orderId, provider: "zenopay" });
    expect((await ground.query.list({ provider: "daraja", limit: 2 })).data).toEqual([]);
    expect(idsOf((await ground.query.list({ provider: "zenopay", limit: 2 })).data)).toEqual([event.id]);
  });

  it("includes orders opened at `from` and excludes those opened at `to`", async () => {
    const ground = await openGround();
    const opened = await openSecondsApart(ground, 5);
    const [, from, , to] = opened.map(({ openedAt }) => new Date(openedAt));
    const newest = idsOf(opened.toReversed());
    const listed = async (filter: Partial<OrderFilter>) =>
      idsOf((await readAllPages(ground.query, { ...filter, limit: 1 })).read);
    expect(await listed({ from })).toEqual(newest.slice(0, 4));
    expect(await listed({ to })).toEqual(newest.slice(2));
    expect(await listed({ from, to })).toEqual(newest.slice(2, 4));
    expect(await listed({ from, to: from })).toEqual([]);
  });
});

describe("list with conditions that no index serves", () => {
  it("reads at most 1,000 orders for a page, and shows each order that fits once", async () => {
    const ground = await openGround();
    // Three of 2,500 orders fit. One is the last that the first page reads, one is the first of the second page.
    await ground.database.pool.query(`
      insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
      select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'SPARSE-' || n, 15000, 'KES', 1, 'failed', 1,
             jsonb_build_object('provider', case when n in (1000, 1001, 2400) then 'zenopay' else 'daraja' end),
             now() - n * interval '1 minute', now() - (2501 - n) * interval '1 minute'
      from generate_series(1, 2500) n`);
    const filters: Partial<OrderFilter>[] = [
      { status: "failed", provider: "zenopay" },
      { provider: "zenopay", changedSince: secondsAgo(2_501 * 60) },
    ];
    for (const filter of filters) {
      const { read, pages } = await readAllPages(ground.query, { ...filter, limit: 10 });
      expect(read.map(({ orderId }) => orderId)).toEqual(["SPARSE-1000", "SPARSE-1001", "SPARSE-2400"]);
      expect(pages).toBe(3);
    }
  });
});

describe("list with `changedSince`", () => {
  it("sorts by change, oldest first, and shows each order once with its current state", async () => {
    const ground = await openGround();
    const [first, second, third] = await openSecondsApart(ground, 3);
    await ground.store.advance(first?.payment.id ?? "", failed());
    await shift(ground, [first?.id ?? ""], 1);
    const { data, nextCursor } = await ground.query.list({ changedSince: secondsAgo(20), limit: 10 });
    expect(data.map(({ id, version }) => [id, version])).toEqual([
      [second?.id, 1],
      [third?.id, 1],
      [first?.id, 2],
    ]);
    expect(nextCursor).toBeNull();
  });

  it("starts exactly 10 s before `changedSince`", async () => {
    const ground = await openGround();
    const opened = await openSecondsApart(ground, 3);
    const at = (seconds: number) => new Date(Date.parse(opened[1]?.occurredAt ?? "") + seconds * 1_000);
    const listed = async (changedSince: Date) => idsOf((await ground.query.list({ changedSince, limit: 10 })).data);
    expect(await listed(at(9.5))).toEqual(idsOf(opened.slice(1)));
    expect(await listed(at(10))).toEqual(idsOf(opened.slice(1)));
    expect(await listed(at(10.001))).toEqual(idsOf(opened.slice(2)));
  });

  it.each([1, 2, 3, 7, 8])(
    "shows each order once in pages of %i, with some orders changed at the same time",
    async (limit) => {
      const ground = await openGround();
      const ids = idsOf(await openSecondsApart(ground, 8));
      const tied = ids.slice(1, 7);
      await ground.database.pool.query(
        `update "order" set changed_at = (select max(changed_at) from "order" where id = any ($1)) where id = any ($1)`,
        [tied],
      );
      const { read } = await readAllPages(ground.query, { changedSince: secondsAgo(20), limit });
      expect(idsOf(read)).toEqual([ids[0], ...tied.toSorted(), ids[7]]);
    },
  );

  it("filters by status or by provider on every page", async () => {
    const ground = await openGround();
    const failedIds: string[] = [];
    for (let times = 0; times < 5; times += 1) {
      await ground.open();
      const { event, payment } = await ground.open({ provider: "zenopay" });
      await ground.store.advance(payment.id, failed());
      failedIds.push(event.id);
    }
    const changedSince = secondsAgo(20);
    for (const filter of [{ status: "failed" }, { provider: "zenopay" }] as const) {
      const { read } = await readAllPages(ground.query, { ...filter, changedSince, limit: 2 });
      expect(idsOf(read)).toEqual(failedIds);
    }
  });

  it.each([
    ["between two pages", 1],
    ["after the last page", undefined],
  ])("shows a change that began before the read and commits %s in the next read", async (_when, page) => {
    const ground = await openGround();
    const { event, payment } = await ground.open();
    await shift(ground, [event.id], -60);
    const late = await holdChange(ground, payment.id);
    await openSecondsApart(ground, 4);
    const changedSince = secondsAgo(20);
    const first = await readAllPages(
      ground.query,
      { changedSince, limit: 2 },
      async (read) => read === page && late.commit(),
    );
    expect(idsOf(first.read)).not.toContain(event.id);
    if (page === undefined) await late.commit();
    const next = await readAllPages(ground.query, { changedSince: lastChange(first.read), limit: 2 });
    expect(next.read).toContainEqual(expect.objectContaining({ id: event.id, version: 2, status: "processing" }));
  });

  it("shows a late commit in the next read even to a backend that takes 30 s for its pages", async () => {
    const ground = await openGround();
    const { event, payment } = await ground.open();
    await shift(ground, [event.id], -60);
    const late = await holdChange(ground, payment.id);
    const opened = await openSecondsApart(ground, 6);
    const changing = idsOf(opened.slice(4));
    // The shift makes it seem that the backend reads its second page 30 s later, and two orders have changed meanwhile.
    const first = await readAllPages(
      ground.query,
      { changedSince: secondsAgo(20), limit: 2 },
      async (page) => page === 1 && shift(ground, changing, 30),
    );
    await late.commit();
    expect(idsOf(first.read)).toEqual(idsOf(opened.slice(0, 4)));
    const next = await readAllPages(ground.query, { changedSince: lastChange(first.read), limit: 200 });
    expect(idsOf(next.read)).toEqual(expect.arrayContaining([event.id, ...changing]));
  });

  it("ends its pages while orders keep changing, and shows those changes in the next read", async () => {
    const ground = await openGround();
    const opened = await openSecondsApart(ground, 6);
    const changing: string[] = [];
    const change = async (): Promise<void> => {
      for (const { payment } of opened.splice(0, 2)) await ground.store.advance(payment.id, failed());
      for (let times = 0; times < 2; times += 1) changing.push((await ground.open()).event.id);
    };
    const all = idsOf(opened);
    const first = await readAllPages(ground.query, { changedSince: secondsAgo(20), limit: 2 }, change);
    expect(first.pages).toBeLessThanOrEqual(4);
    const next = await readAllPages(ground.query, { changedSince: lastChange(first.read), limit: 200 });
    const seen = [...first.read, ...next.read];
    expect(new Set(idsOf(seen))).toEqual(new Set([...all, ...changing]));
    for (const { id, version } of ground.announced)
      expect(seen).toContainEqual(expect.objectContaining({ id, version }));
  });

  it("misses no order's latest state while eight writers race with the reader", async () => {
    const ground = await openGround();
    let changedSince = secondsAgo(1);
    const seen = new Map<string, number>();
    const readChanges = async (): Promise<void> => {
      const { read } = await readAllPages(ground.query, { changedSince, limit: 7 });
      for (const { id, version } of read) seen.set(id, Math.max(version, seen.get(id) ?? 0));
      if (read.length > 0) changedSince = lastChange(read);
    };
    let writing = 8;
    const write = async (): Promise<void> => {
      for (let times = 0; times < 10; times += 1) {
        const { payment } = await ground.open();
        await ground.store.advance(payment.id, processing);
        await ground.store.advance(payment.id, times % 2 === 0 ? paid() : failed());
      }
      writing -= 1;
    };
    const read = async (): Promise<void> => {
      while (writing > 0) await readChanges();
      await readChanges();
    };
    await Promise.all([read(), ...Array.from({ length: writing }, write)]);
    expect(seen.size).toBe(80);
    expect(new Set(seen.values())).toEqual(new Set([3]));
  });
});

describe("cursor", () => {
  const at = "2026-11-20T21:00:00.000Z";
  const id = "0199f2c4-1234-7abc-8def-0123456789ab";
  let ground: TestStore & { close(): Promise<void> };
  beforeAll(async () => {
    ground = await openTestStore();
    return ground.close;
  });

  it.each([
    ["nothing", ""],
    ["no JSON", "zzz"],
    ["an object", JSON.stringify({ at, id })],
    ["null", "null"],
    ["an empty list", "[]"],
    ["no id", JSON.stringify([at])],
    ["an invalid time", JSON.stringify(["yesterday", id])],
    ["an invalid id", JSON.stringify([at, "'; drop table payment; --"])],
    ["an invalid end", JSON.stringify([at, id, "never"])],
    ["too many elements", JSON.stringify([at, id, at, at])],
    ["a time that PostgreSQL cannot store", JSON.stringify(["-200000-01-01T00:00:00.000Z", id])],
  ])("is refused by name when it holds %s", async (_what, text) => {
    const cursor = text === "zzz" ? text : Buffer.from(text).toString("base64url");
    for (const changedSince of [undefined, new Date(at)]) {
      await expect(ground.query.list({ cursor, changedSince, limit: 10 })).rejects.toMatchObject({
        name: "HubError",
        code: "body_invalid",
        status: 400,
        details: { errors: [{ path: "cursor" }] },
      });
    }
  });
});
