/** The filters of the lists of orders and payments, alone and combined, against a filter in the test that reads every order. */
import fc from "fast-check";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { ListedPayment } from "../../server/order/payment-list.ts";
import type { OrderFilter, OrderView, PaymentFilter } from "../../server/order/query.ts";
import { createReview } from "../../server/order/review.ts";
import { failed, openTestStore, paid, type TestStore } from "../support/store.ts";

const phones = ["+254712345601", "+254712345602", "+255712345601"] as const;

interface Made {
  view: OrderView;
  /** What the answer does not show in full. */
  phones: string[];
  customer: { id?: string; email?: string };
}

let ground: TestStore;
/** Every order, the newest first. */
let made: Made[];
beforeAll(async () => {
  const opened = await openTestStore();
  ground = opened;
  made = await makeOrders();
  return opened.close;
});

/** Orders of every kind, twice, each a second after the one before. */
async function makeOrders(): Promise<Made[]> {
  const found: Made[] = [];
  for (let n = 0; n < 24; n += 1) {
    const customer = {
      ...(n % 3 === 0 && { id: `C-${n % 2}` }),
      ...(n % 4 === 0 && { email: `Payer${n % 2}@example.com` }),
    };
    const draft = { phone: phones[n % 3] ?? phones[0], provider: n % 2 ? "zenopay" : "daraja", customer };
    const first = await ground.open(draft);
    const { orderId } = first.event;
    const used = [draft.phone, ...((await kinds[n % kinds.length]?.(orderId, first.payment.id, n)) ?? [])];
    const seconds = 1_000 - 10 * n;
    await ground.database.pool.query(
      `with moved as (update "order" set opened_at = opened_at - $2 * interval '1 second' where order_id = $1 returning id)
       update payment set started_at = started_at - $2 * interval '1 second', paid_at = paid_at - $2 * interval '1 second'
       where order_uuid in (select id from moved)`,
      [orderId, seconds],
    );
    found.unshift({ view: await ground.view(orderId), phones: used, customer });
  }
  return found;
}

type Kind = (orderId: string, paymentId: string, n: number) => Promise<string[]>;

/** Each returns the phones of further payments. */
const kinds: Kind[] = [
  async () => [],
  async (_orderId, id) => advance(id, failed({ reason: "cancelled" })),
  async (_orderId, id, n) => advance(id, paid({ receipt: `RCT${n}`, reference: `ref-${n}` })),
  // Paid late.
  async (_orderId, id, n) => [
    ...(await advance(id, failed({ reason: "wrong_pin" }))),
    ...(await advance(id, paid({ receipt: `RCT${n}` }))),
  ],
  // Paid twice, the second time from another phone.
  async (orderId, id, n) => {
    await advance(id, failed());
    const second = await ground.open({ orderId, phone: phones[1], provider: "mtn" });
    await advance(second.payment.id, paid({ receipt: `RCT${n}b` }));
    await advance(id, paid({ receipt: `RCT${n}` }));
    return [phones[1]];
  },
  async (_orderId, id) => advance(id, paid({ amountMinor: 10_000n })),
  // In review, and accepted.
  async (orderId, id) => {
    await advance(id, paid({ amountMinor: 10_000n }));
    const review = createReview({ ...ground, announce: () => undefined });
    await review.resolve({ orderId, paymentId: id, as: "succeeded", note: "accepted" });
    return [];
  },
  // A mismatch after the success.
  async (_orderId, id, n) => [
    ...(await advance(id, paid({ receipt: `RCT${n}` }))),
    ...(await advance(id, paid({ receipt: `RCT${n}`, amountMinor: 1n }))),
  ],
  // Paid, while another payment is in review.
  async (orderId, id, n) => {
    await advance(id, failed());
    const second = await ground.open({ orderId, phone: phones[2], provider: "mtn" });
    await advance(second.payment.id, paid({ receipt: `RCT${n}` }));
    await advance(id, paid({ amountMinor: 10_000n }));
    return [phones[2]];
  },
];

async function advance(paymentId: string, outcome: Parameters<TestStore["store"]["advance"]>[1]): Promise<string[]> {
  await ground.store.advance(paymentId, outcome);
  return [];
}

const isIn = (at: string | undefined, from: Date | undefined, to: Date | undefined): boolean =>
  (!from && !to) || (at !== undefined && (!from || new Date(at) >= from) && (!to || new Date(at) < to));

const needsAttention = ({ order, payments, events }: OrderView): boolean =>
  payments.some(({ status }) => status === "review") ||
  order.alsoPaid !== undefined ||
  (order.status === "succeeded" &&
    order.reason === "amount_mismatch" &&
    !events.some(({ source }) => source === "person"));

function fits({ view, phones: used, customer }: Made, filter: Partial<OrderFilter>): boolean {
  const { order, payments } = view;
  const paying = payments.find(({ id, status }) => id === order.payment.id && status === "succeeded");
  return (
    (!filter.status || order.status === filter.status) &&
    (!filter.provider || order.payment.provider === filter.provider) &&
    (!filter.reason || order.reason === filter.reason) &&
    isIn(order.openedAt, filter.from, filter.to) &&
    isIn(paying?.paidAt, filter.paidFrom, filter.paidTo) &&
    (!filter.receipt ||
      payments.some(({ receipt }) => receipt === filter.receipt?.toUpperCase() || receipt === filter.receipt)) &&
    (!filter.phones || used.some((phone) => filter.phones?.includes(phone))) &&
    (!filter.customer ||
      customer.id === filter.customer ||
      customer.email?.toLowerCase() === filter.customer.toLowerCase()) &&
    (!filter.needsAttention || needsAttention(view))
  );
}

async function readAll<Item>(
  read: (cursor: string | undefined) => Promise<{ data: Item[]; nextCursor: string | null }>,
): Promise<Item[]> {
  const found: Item[] = [];
  let cursor: string | undefined;
  for (;;) {
    const page = await read(cursor);
    found.push(...page.data);
    if (page.nextCursor === null) return found;
    cursor = page.nextCursor;
  }
}

const listed = (filter: Partial<OrderFilter>) =>
  readAll((cursor) => ground.query.list({ limit: 3, ...filter, ...(cursor !== undefined && { cursor }) }));

const listedPayments = (filter: Partial<PaymentFilter>) =>
  readAll((cursor) => ground.query.listPayments({ limit: 3, ...filter, ...(cursor !== undefined && { cursor }) }));

const sorted = (ids: readonly string[]): string[] => ids.toSorted();

const sometimes = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined, freq: 3 });

/** A time among those of the orders. */
const at = fc.integer({ min: -50, max: 1_050 }).map((seconds) => new Date(Date.now() - seconds * 1_000));

const sharedFields = {
  status: sometimes(fc.constantFrom("pending", "failed", "succeeded", "review")),
  provider: sometimes(fc.constantFrom("daraja", "zenopay", "mtn")),
  reason: sometimes(fc.constantFrom("cancelled", "late", "paid_twice", "amount_mismatch")),
  from: sometimes(at),
  to: sometimes(at),
  paidFrom: sometimes(at),
  paidTo: sometimes(at),
  receipt: sometimes(fc.constantFrom("rct2", "RCT4", "RCT4b", "RCT20", "none")),
  phones: sometimes(fc.subarray([...phones], { minLength: 1 })),
};

const orderFilters = fc.record({
  ...sharedFields,
  customer: sometimes(fc.constantFrom("C-0", "C-1", "payer0@EXAMPLE.com", "none")),
  needsAttention: sometimes(fc.constant(true as const)),
});

const paymentFilters = fc.record({ ...sharedFields, reference: sometimes(fc.constantFrom("ref-2", "ref-11", "none")) });

describe("a filter of orders", () => {
  const cases: Partial<OrderFilter>[] = [
    { reason: "late" },
    { receipt: "rct2" },
    { phones: [phones[2]] },
    { phones: [...phones] },
    { customer: "C-0" },
    { customer: "payer0@example.com" },
    { needsAttention: true },
    { paidFrom: new Date(0) },
  ];

  it.each(cases)("finds %j, and nothing else", async (filter) => {
    const expected = made.filter((one) => fits(one, filter));
    expect(expected.length).toBeGreaterThan(0);
    expect(expected.length).toBeLessThan(made.length + (filter.phones?.length === phones.length ? 1 : 0));
    const found = (await listed(filter)).map(({ orderId }) => orderId);
    expect(sorted(found)).toEqual(sorted(expected.map(({ view }) => view.order.orderId)));
  });

  it("finds each kind of order on which a person must act", () => {
    const needy = made
      .filter(({ view }) => needsAttention(view))
      .map(({ view: { order } }) => [order.status, order.reason]);
    expect(new Set(needy.map(String))).toEqual(
      new Set(["succeeded,paid_twice", "review,amount_mismatch", "succeeded,amount_mismatch", "succeeded,"]),
    );
  });

  it("may be combined with every other one, on every page, and by change", async () => {
    await fc.assert(
      fc.asyncProperty(orderFilters, fc.boolean(), async (filter, isByChange) => {
        const found = await listed({ ...filter, ...(isByChange && { changedSince: new Date(0) }) });
        const expected = made.filter((one) => fits(one, filter)).map(({ view }) => view.order.orderId);
        expect(sorted(found.map(({ orderId }) => orderId))).toEqual(sorted(expected));
      }),
      { numRuns: 300 },
    );
  }, 120_000);

  it("sorts the newest first; by the money's time with `paidFrom`", async () => {
    const opened = (await listed({ needsAttention: true })).map(({ openedAt }) => openedAt);
    expect(opened).toEqual(opened.toSorted().toReversed());
    const paidAt = (await listed({ paidFrom: new Date(0) })).map(
      ({ orderId, payment }) =>
        made.find(({ view }) => view.order.orderId === orderId)?.view.payments.find(({ id }) => id === payment.id)
          ?.paidAt,
    );
    expect(paidAt.length).toBeGreaterThan(5);
    expect(paidAt).toEqual(paidAt.toSorted().toReversed());
  });
});

describe("a filter of payments", () => {
  const payments = (): ListedPayment[] =>
    made.flatMap(({ view: { order, payments: found } }) =>
      found.map((payment) => ({ ...payment, orderId: order.orderId, amountMinor: 15_000, currency: "KES" })),
    );

  const phoneOf = ({ orderId, attempt }: ListedPayment): string | undefined =>
    made.find(({ view }) => view.order.orderId === orderId)?.phones[attempt - 1];

  const isFit = (payment: ListedPayment, filter: Partial<PaymentFilter>): boolean =>
    (!filter.status || payment.status === filter.status) &&
    (!filter.provider || payment.provider === filter.provider) &&
    (!filter.reason || payment.reason === filter.reason) &&
    (!filter.orderId || payment.orderId === filter.orderId) &&
    (!filter.reference || payment.reference === filter.reference) &&
    isIn(payment.startedAt, filter.from, filter.to) &&
    isIn(payment.paidAt, filter.paidFrom, filter.paidTo) &&
    (!filter.receipt || payment.receipt === filter.receipt || payment.receipt === filter.receipt.toUpperCase()) &&
    (!filter.phones || filter.phones.includes(phoneOf(payment) ?? ""));

  it("shows each payment with its order, amount and currency, as the order shows it", async () => {
    const found = await listedPayments({});
    expect(found.toSorted((one, other) => one.id.localeCompare(other.id))).toEqual(
      payments().toSorted((one, other) => one.id.localeCompare(other.id)),
    );
    expect(found.map(({ startedAt }) => startedAt)).toEqual(
      found
        .map(({ startedAt }) => startedAt)
        .toSorted()
        .toReversed(),
    );
    const { orderId } = payments().find(({ attempt }) => attempt === 2) ?? { orderId: "" };
    expect((await listedPayments({ orderId })).map(({ attempt }) => attempt).toSorted()).toEqual([1, 2]);
  });

  it("may be combined with every other one, on every page", async () => {
    await fc.assert(
      fc.asyncProperty(paymentFilters, async (filter) => {
        const found = (await listedPayments(filter)).map(({ id }) => id);
        expect(sorted(found)).toEqual(
          sorted(
            payments()
              .filter((one) => isFit(one, filter))
              .map(({ id }) => id),
          ),
        );
      }),
      { numRuns: 300 },
    );
  }, 120_000);

  it("keeps its pages while payments change and others are opened", async () => {
    const ground = await openTestStore();
    onTestFinished(ground.close);
    const opened = [];
    for (let n = 0; n < 6; n += 1) opened.push(await ground.open());
    let cursor: string | undefined;
    const found: string[] = [];
    do {
      const page = await ground.query.listPayments({ limit: 2, ...(cursor !== undefined && { cursor }) });
      found.push(...page.data.map(({ id }) => id));
      cursor = page.nextCursor ?? undefined;
      await ground.open();
      for (const { payment } of opened) await ground.store.advance(payment.id, paid());
    } while (cursor !== undefined);
    expect(found).toEqual(opened.map(({ payment }) => payment.id).toReversed());
  });
});

describe("the time of the money", () => {
  it("is that of the first evidence: of the review for a payment that a person accepts later", async () => {
    const ground = await openTestStore();
    onTestFinished(ground.close);
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, paid({ amountMinor: 10_000n }));
    expect((await ground.view(event.orderId)).payments[0]).not.toHaveProperty("paidAt");
    const { rows } = await ground.database.pool.query(
      "update payment set paid_at = paid_at - interval '1 day' returning paid_at",
    );
    const review = createReview({ ...ground, announce: () => undefined });
    await review.resolve({ orderId: event.orderId, paymentId: payment.id, as: "succeeded", note: "accepted" });
    expect((await ground.view(event.orderId)).payments[0]).toMatchObject({ paidAt: rows[0].paid_at.toISOString() });
  });

  it("is added to successes that a node of the previous version recorded, from the history", async () => {
    const ground = await openTestStore();
    onTestFinished(ground.close);
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, failed());
    const second = await ground.open({ orderId: event.orderId });
    await ground.store.advance(second.payment.id, paid({ receipt: "A1" }));
    await ground.store.advance(payment.id, paid({ receipt: "A2" }));
    await ground.database.pool.query("update payment set paid_at = null");
    expect(await ground.store.datePayments()).toBe(false);
    const { payments, events } = await ground.view(event.orderId);
    const timeOf = (reason: string | undefined) =>
      events.find((one) => one.status === "succeeded" && one.reason === reason)?.occurredAt;
    expect(payments.map(({ paidAt }) => paidAt)).toEqual([timeOf("paid_twice"), timeOf(undefined)]);
    expect(timeOf("paid_twice")).not.toBeUndefined();
  });
});
