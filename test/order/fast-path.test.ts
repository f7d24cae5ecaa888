/** The statements for payments that are simply accepted or paid, beside the full decision: they do the same, or nothing. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { AdvancedRow } from "../../server/order/advance.ts";
import { advanceBatchStatement, advanceStatement } from "../../server/order/decide.ts";
import { toEvidence } from "../../server/order/evidence.ts";
import { acceptStatement, payBatchStatement } from "../../server/order/fast-path.ts";
import type { Outcome } from "../../server/order/order.ts";
import type { Opened } from "../../server/order/store.ts";
import { failed, lockOrder, nextOrderId, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

/** An order that is being paid, its reference known, and the receipt that the webhook under test brings. */
type Twin = Required<Opened> & { reference: string; receipt: string };

const accepted = (reference: string): Outcome => ({ status: "processing", reference, source: "reply" });

async function openTwin(): Promise<Twin> {
  const opened = await ground.open();
  const reference = `ws-${opened.payment.id}`;
  await ground.store.advance(opened.payment.id, accepted(reference));
  return { ...opened, reference, receipt: nextOrderId() };
}

const say = ({ payment }: Twin, outcome: Outcome) => ground.store.advance(payment.id, outcome);

const tell = async (statement: typeof payBatchStatement | typeof advanceBatchStatement, told: [string, Outcome][]) => {
  const webhook = { provider: "daraja", proof: "secret", headers: { a: "b" }, body: Buffer.from("{}") } as const;
  const json = JSON.stringify(told.map(([id, outcome], nth) => ({ nth, ...toEvidence(id, outcome, webhook) })));
  const values = statement === payBatchStatement ? [json] : [json, ["daraja"], []];
  const { rows } = await ground.database.pool.query<AdvancedRow>({ ...statement, values });
  return rows;
};

/** All that is kept of an order, with its names and times made comparable to another's. */
async function keptOf({ event, reference, receipt }: Twin, answers: readonly AdvancedRow[]): Promise<unknown> {
  const { rows } = await ground.database.pool.query<{ kept: unknown }>(
    `select jsonb_build_array(to_jsonb(o),
       (select jsonb_agg(p order by attempt) from payment p where order_uuid = o.id),
       (select jsonb_agg(to_jsonb(e) - 'id' order by version) from event e where order_uuid = o.id),
       (select jsonb_agg(r order by r.receipt) from receipt r join payment p on p.id = payment_id where order_uuid = o.id),
       (select jsonb_agg(to_jsonb(w) - 'id' order by w.id) from webhook w join payment p on p.id = payment_id where order_uuid = o.id)
     ) as kept from "order" o where id = $1`,
    [event.id],
  );
  const names = new Map([
    [event.orderId, "the order"],
    [reference, "the reference"],
    [receipt, "the receipt"],
  ]);
  const nameOf = (text: string): string => {
    if (/^\d{4}-\d\d-\d\dT/.test(text)) return "a time";
    if (/^[0-9a-f]{8}-[0-9a-f]{4}-/.test(text) && !names.has(text)) names.set(text, `id ${names.size}`);
    return names.get(text) ?? text;
  };
  const kept = JSON.stringify({ kept: rows[0]?.kept, answers });
  return JSON.parse(kept, (_key, value: unknown) => (typeof value === "string" ? nameOf(value) : value));
}

interface Case {
  it: string;
  /** What happened before. */
  before?: (twin: Twin) => Promise<unknown>;
  /** What the webhook says otherwise. */
  says?: Partial<Outcome>;
}

const simple: Case[] = [
  { it: "is being paid" },
  { it: "was thought to fail by a query", before: (twin) => say(twin, failed({ source: "query" })) },
  {
    it: "is the second attempt, after one that failed",
    async before(twin) {
      await say(twin, failed());
      const { payment } = await ground.open({ orderId: twin.event.orderId });
      twin.payment = payment;
      await ground.store.advance(payment.id, accepted(twin.reference));
    },
  },
];

const reversed: Case[] = [
  { it: "is told of with another amount", says: { amountMinor: 14_999n } },
  { it: "is told of with another currency", says: { currency: "TZS" } },
  { it: "is told of without an amount", says: { amountMinor: undefined, currency: undefined } as object },
  { it: "is told of with another reference", says: { reference: "another" } },
  { it: "is told of without a reference", says: { reference: undefined } as object },
  {
    it: "has no reference yet",
    async before(twin) {
      const { event, payment } = await ground.open();
      Object.assign(twin, { event, payment });
    },
  },
  { it: "has failed", before: (twin) => say(twin, failed()) },
  { it: "has expired", before: (twin) => say(twin, { status: "expired", reason: "no_response", source: "clock" }) },
  { it: "is in review", before: (twin) => say(twin, paid({ amountMinor: 1n, receipt: nextOrderId() })) },
  { it: "is paid", before: (twin) => say(twin, paid({ receipt: twin.receipt })) },
  { it: "is paid, with another receipt", before: (twin) => say(twin, paid({ receipt: nextOrderId() })) },
  {
    it: "has the receipt of another payment",
    async before({ receipt }) {
      const { payment } = await ground.open();
      await ground.store.advance(payment.id, paid({ receipt }));
    },
  },
  {
    it: "is the first attempt, while the second is open",
    async before(twin) {
      await say(twin, failed());
      await ground.open({ orderId: twin.event.orderId });
    },
  },
  {
    it: "is the second attempt, and the first is paid after all",
    async before(twin) {
      const first = twin.payment;
      await say(twin, failed());
      const { payment } = await ground.open({ orderId: twin.event.orderId });
      twin.payment = payment;
      await ground.store.advance(payment.id, accepted(twin.reference));
      await ground.store.advance(first.id, paid({ receipt: nextOrderId() }));
    },
  },
];

/** Tells a twin of a payment by the statement; what is there before and after. */
async function play({ before, says }: Case, statement: typeof payBatchStatement | typeof advanceBatchStatement) {
  const twin = await openTwin();
  await before?.(twin);
  const { reference, receipt } = twin;
  const was = await keptOf(twin, []);
  const answers = await tell(statement, [[twin.payment.id, paid({ reference, receipt, ...says })]]);
  return { was, answers, is: await keptOf(twin, answers) };
}

/** A provider's reply to a payment just opened: whether it is accepted by the quick statement, or by the full decision. */
async function reply({ before }: Case, statement: typeof acceptStatement | typeof advanceStatement) {
  const twin: Twin = { ...(await ground.open()), reference: nextOrderId(), receipt: nextOrderId() };
  await before?.(twin);
  const was = await keptOf(twin, []);
  const action = { type: "prompt", phone: "+2547*****678" } as const;
  const told = toEvidence(twin.payment.id, { ...accepted(twin.reference), action });
  const values =
    statement === acceptStatement
      ? [told.payment_id, told.new_reference, told.new_action]
      : [JSON.stringify([{ nth: 0, ...told }]), ["daraja"], []];
  const { rows: answers } = await ground.database.pool.query<AdvancedRow>({ ...statement, values });
  return { was, answers, is: await keptOf(twin, answers) };
}

const expired: Outcome = { status: "expired", reason: "no_response", source: "clock" };

const pending: Case[] = [
  { it: "is pending" },
  { it: "was thought to fail by a query", before: (twin) => say(twin, failed({ source: "query" })) },
  {
    it: "was thought to fail by a query that knew the same reference",
    before: (twin) => say(twin, failed({ source: "query", reference: twin.reference })),
  },
  {
    it: "is the second attempt, after one that expired",
    async before(twin) {
      await say(twin, expired);
      twin.payment = (await ground.open({ orderId: twin.event.orderId })).payment;
    },
  },
];

const notPending: Case[] = [
  { it: "is processing", before: (twin) => say(twin, accepted(twin.reference)) },
  { it: "has failed", before: (twin) => say(twin, failed()) },
  { it: "has expired", before: (twin) => say(twin, expired) },
  { it: "is in review", before: (twin) => say(twin, paid({ amountMinor: 1n, receipt: nextOrderId() })) },
  { it: "is paid", before: (twin) => say(twin, paid({ receipt: nextOrderId() })) },
  {
    it: "is known by another reference",
    before: (twin) => say(twin, failed({ source: "query", reference: "another" })),
  },
];

describe("what is simply accepted, is by either statement the same, where it", () => {
  it.each(pending)("$it", async (one) => {
    const [quick, decided] = [await reply(one, acceptStatement), await reply(one, advanceStatement)];
    expect(quick.answers).toMatchObject([{ nth: 0, result: "applied", status: "processing" }]);
    expect(quick.is).toEqual(decided.is);
  });

  it("is the second attempt, and the first is paid after all: the payment changes, the order does not", async () => {
    const one: Case = {
      it: "",
      async before(twin) {
        const first = twin.payment;
        await say(twin, expired);
        twin.payment = (await ground.open({ orderId: twin.event.orderId })).payment;
        await ground.store.advance(first.id, paid({ receipt: twin.receipt }));
      },
    };
    const [quick, decided] = [await reply(one, acceptStatement), await reply(one, advanceStatement)];
    expect(quick.answers).toMatchObject([{ nth: 0, result: "applied", id: null }]);
    expect(quick.is).toEqual(decided.is);
  });
});

describe("what is not pending, a reply leaves as it is, where it", () => {
  it.each(notPending)("$it", async (one) => {
    const { answers, was, is } = await reply(one, acceptStatement);
    expect(answers).toEqual([]);
    expect(is).toEqual(was);
  });
});

describe("what is simply paid, is by either statement the same, where it", () => {
  it.each(simple)("$it", async (one) => {
    const [quick, decided] = [await play(one, payBatchStatement), await play(one, advanceBatchStatement)];
    expect(quick.answers).toMatchObject([{ nth: 0, result: "applied", status: "succeeded" }]);
    expect(quick.is).toEqual(decided.is);
  });
});

describe("what is not simply paid, is left as it is, where it", () => {
  it.each(reversed)("$it", async (one) => {
    const { answers, was, is } = await play(one, payBatchStatement);
    expect(answers).toEqual([]);
    expect(is).toEqual(was);
  });
});

describe("of what comes at once", () => {
  it("one payment told of twice is paid once", async () => {
    const twin = await openTwin();
    const { id } = twin.payment;
    const outcome = paid({ reference: twin.reference, receipt: twin.receipt });
    expect(
      await tell(payBatchStatement, [
        [id, outcome],
        [id, outcome],
      ]),
    ).toHaveLength(1);
    expect((await ground.view(twin.event.orderId)).order).toMatchObject({ version: 3, status: "succeeded" });
  });

  it("one payment told of twice with two receipts is paid once, and the other receipt is not taken", async () => {
    const { payment, reference } = await openTwin();
    const receipts = [nextOrderId(), nextOrderId()];
    const told = receipts.map((receipt): [string, Outcome] => [payment.id, paid({ reference, receipt })]);
    expect(await tell(payBatchStatement, told)).toHaveLength(1);
    const { rows } = await ground.database.pool.query("select from receipt where payment_id = $1", [payment.id]);
    expect(rows).toHaveLength(1);
  });

  it("what is locked is not waited for", async () => {
    const twins = [await openTwin(), await openTwin(), await openTwin()];
    const [{ event }, { payment }] = twins as [Twin, Twin];
    const order = await lockOrder(ground.database, event.orderId);
    const holder = await ground.database.pool.connect();
    onTestFinished(() => holder.release());
    await holder.query("begin");
    await holder.query("select from payment where id = $1 for update", [payment.id]);
    const told = twins.map((one): [string, Outcome] => [
      one.payment.id,
      paid({ reference: one.reference, receipt: one.receipt }),
    ]);
    expect(await tell(payBatchStatement, told)).toMatchObject([{ nth: 2, result: "applied" }]);
    await holder.query("commit");
    await order.release();
  });

  it("two payments with one receipt are not both paid", async () => {
    const twins = [await openTwin(), await openTwin()];
    const receipt = nextOrderId();
    const told = twins.map(({ payment, reference }): [string, Outcome] => [payment.id, paid({ reference, receipt })]);
    const [row, ...more] = await tell(payBatchStatement, told);
    expect(more).toEqual([]);
    const statuses = await Promise.all(twins.map(async ({ event }) => (await ground.view(event.orderId)).order.status));
    expect(statuses.filter((status) => status === "succeeded")).toHaveLength(1);
    expect(statuses[row?.nth ?? -1]).toBe("succeeded");
  });
});
