/** The fast paths: each changes the same rows as the full decision, or nothing. */
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

/** An order and its payment, the reference of the payment, and the receipt that the webhook under test states. */
type Subject = Required<Opened> & { reference: string; receipt: string };

const accepted = (reference: string): Outcome => ({ status: "processing", reference, source: "reply" });

/** Opens a payment that its provider has accepted under `reference`. */
async function openSubject(): Promise<Subject> {
  const opened = await ground.open();
  const reference = `ws-${opened.payment.id}`;
  await ground.store.advance(opened.payment.id, accepted(reference));
  return { ...opened, reference, receipt: nextOrderId() };
}

const advance = ({ payment }: Subject, outcome: Outcome) => ground.store.advance(payment.id, outcome);

type BatchStatement = typeof payBatchStatement | typeof advanceBatchStatement;

/** Runs the statement for one webhook per payment id and outcome. */
async function runBatch(statement: BatchStatement, evidence: [string, Outcome][]): Promise<AdvancedRow[]> {
  const webhook = { provider: "daraja", proof: "secret", headers: { a: "b" }, body: Buffer.from("{}") } as const;
  const json = JSON.stringify(evidence.map(([id, outcome], nth) => ({ nth, ...toEvidence(id, outcome, webhook) })));
  const values = statement === payBatchStatement ? [json] : [json, ["daraja"], []];
  const { rows } = await ground.database.pool.query<AdvancedRow>({ ...statement, values });
  return rows;
}

/** Returns all rows of an order and the statement's result, with ids and times replaced, so that two orders can be compared. */
async function storedOf({ event, reference, receipt }: Subject, result: readonly AdvancedRow[]): Promise<unknown> {
  const { rows } = await ground.database.pool.query<{ stored: unknown }>(
    `select jsonb_build_array(to_jsonb(o),
       (select jsonb_agg(p order by attempt) from payment p where order_uuid = o.id),
       (select jsonb_agg(to_jsonb(e) - 'id' - 'xid' order by version) from event e where order_uuid = o.id),
       (select jsonb_agg(r order by r.receipt) from receipt r join payment p on p.id = payment_id where order_uuid = o.id),
       (select jsonb_agg(to_jsonb(w) - 'id' order by w.id) from webhook w join payment p on p.id = payment_id where order_uuid = o.id)
     ) as stored from "order" o where id = $1`,
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
  const stored = JSON.stringify({ stored: rows[0]?.stored, result });
  return JSON.parse(stored, (_key, value: unknown) => (typeof value === "string" ? nameOf(value) : value));
}

interface Case {
  /** Completes the title "… a payment that". */
  what: string;
  /** Brings the payment to the state under test. */
  prepare?: (subject: Subject) => Promise<unknown>;
  /** The fields in which the webhook differs from a full success. */
  evidence?: Partial<Outcome>;
}

const payable: Case[] = [
  { what: "is processing" },
  { what: "has a suspected failure", prepare: (subject) => advance(subject, failed({ source: "query" })) },
  {
    what: "is the second attempt after a failed one",
    async prepare(subject) {
      await advance(subject, failed());
      const { payment } = await ground.open({ orderId: subject.event.orderId });
      subject.payment = payment;
      await ground.store.advance(payment.id, accepted(subject.reference));
    },
  },
];

const notPayable: Case[] = [
  { what: "gets another amount (G8)", evidence: { amountMinor: 14_999n } },
  { what: "gets another currency (G8)", evidence: { currency: "TZS" } },
  { what: "gets no amount (G8)", evidence: { amountMinor: undefined, currency: undefined } as object },
  { what: "gets another reference", evidence: { reference: "another" } },
  { what: "gets no reference", evidence: { reference: undefined } as object },
  {
    what: "has no reference",
    async prepare(subject) {
      const { event, payment } = await ground.open();
      Object.assign(subject, { event, payment });
    },
  },
  { what: "has failed", prepare: (subject) => advance(subject, failed()) },
  {
    what: "has expired",
    prepare: (subject) => advance(subject, { status: "expired", reason: "no_response", source: "clock" }),
  },
  { what: "is in review", prepare: (subject) => advance(subject, paid({ amountMinor: 1n, receipt: nextOrderId() })) },
  {
    what: "is paid with the same receipt (G6)",
    prepare: (subject) => advance(subject, paid({ receipt: subject.receipt })),
  },
  {
    what: "is paid with another receipt (G6)",
    prepare: (subject) => advance(subject, paid({ receipt: nextOrderId() })),
  },
  {
    what: "gets the receipt of another payment",
    async prepare({ receipt }) {
      const { payment } = await ground.open();
      await ground.store.advance(payment.id, paid({ receipt }));
    },
  },
  {
    what: "is the first attempt while the second is open",
    async prepare(subject) {
      await advance(subject, failed());
      await ground.open({ orderId: subject.event.orderId });
    },
  },
  {
    what: "is the second attempt of an order that the first has paid (G2)",
    async prepare(subject) {
      const first = subject.payment;
      await advance(subject, failed());
      const { payment } = await ground.open({ orderId: subject.event.orderId });
      subject.payment = payment;
      await ground.store.advance(payment.id, accepted(subject.reference));
      await ground.store.advance(first.id, paid({ receipt: nextOrderId() }));
    },
  },
];

/** Sends the case's webhook through the statement. Returns its result and the stored rows before and after. */
async function pay({ prepare, evidence }: Case, statement: BatchStatement) {
  const subject = await openSubject();
  await prepare?.(subject);
  const { reference, receipt } = subject;
  const before = await storedOf(subject, []);
  const result = await runBatch(statement, [[subject.payment.id, paid({ reference, receipt, ...evidence })]]);
  return { before, result, after: await storedOf(subject, result) };
}

/** Records a provider's acceptance of a new payment. Returns the statement's result and the stored rows before and after. */
async function accept({ prepare }: Case, statement: typeof acceptStatement | typeof advanceStatement) {
  const subject: Subject = { ...(await ground.open()), reference: nextOrderId(), receipt: nextOrderId() };
  await prepare?.(subject);
  const before = await storedOf(subject, []);
  const action = { type: "prompt", phone: "+2547*****678" } as const;
  const evidence = toEvidence(subject.payment.id, { ...accepted(subject.reference), action });
  const values =
    statement === acceptStatement
      ? [evidence.payment_id, evidence.new_reference, evidence.new_action]
      : [JSON.stringify([{ nth: 0, ...evidence }]), ["daraja"], []];
  const { rows: result } = await ground.database.pool.query<AdvancedRow>({ ...statement, values });
  return { before, result, after: await storedOf(subject, result) };
}

const expired: Outcome = { status: "expired", reason: "no_response", source: "clock" };

const acceptable: Case[] = [
  { what: "is pending" },
  { what: "has a suspected failure", prepare: (subject) => advance(subject, failed({ source: "query" })) },
  {
    what: "has a suspected failure and the same reference",
    prepare: (subject) => advance(subject, failed({ source: "query", reference: subject.reference })),
  },
  {
    what: "is the second attempt after an expired one",
    async prepare(subject) {
      await advance(subject, expired);
      subject.payment = (await ground.open({ orderId: subject.event.orderId })).payment;
    },
  },
];

const notAcceptable: Case[] = [
  { what: "is processing", prepare: (subject) => advance(subject, accepted(subject.reference)) },
  { what: "has failed", prepare: (subject) => advance(subject, failed()) },
  { what: "has expired", prepare: (subject) => advance(subject, expired) },
  { what: "is in review", prepare: (subject) => advance(subject, paid({ amountMinor: 1n, receipt: nextOrderId() })) },
  { what: "is paid (G2)", prepare: (subject) => advance(subject, paid({ receipt: nextOrderId() })) },
  {
    what: "has another reference",
    prepare: (subject) => advance(subject, failed({ source: "query", reference: "another" })),
  },
];

describe("acceptStatement", () => {
  it.each(acceptable)("changes the same as the full decision for a payment that $what", async (one) => {
    const [fast, full] = [await accept(one, acceptStatement), await accept(one, advanceStatement)];
    expect(fast.result).toMatchObject([{ nth: 0, result: "applied", status: "processing" }]);
    expect(fast.after).toEqual(full.after);
  });

  it("changes only the payment, as the full decision does, where the first attempt has paid the order (G2)", async () => {
    const one: Case = {
      what: "is the second attempt of an order that the first has paid",
      async prepare(subject) {
        const first = subject.payment;
        await advance(subject, expired);
        subject.payment = (await ground.open({ orderId: subject.event.orderId })).payment;
        await ground.store.advance(first.id, paid({ receipt: subject.receipt }));
      },
    };
    const [fast, full] = [await accept(one, acceptStatement), await accept(one, advanceStatement)];
    expect(fast.result).toMatchObject([{ nth: 0, result: "applied", id: null }]);
    expect(fast.after).toEqual(full.after);
  });

  it.each(notAcceptable)("changes nothing for a payment that $what", async (one) => {
    const { before, result, after } = await accept(one, acceptStatement);
    expect(result).toEqual([]);
    expect(after).toEqual(before);
  });
});

describe("payBatchStatement", () => {
  it.each(payable)("changes the same as the full decision for a payment that $what", async (one) => {
    const [fast, full] = [await pay(one, payBatchStatement), await pay(one, advanceBatchStatement)];
    expect(fast.result).toMatchObject([{ nth: 0, result: "applied", status: "succeeded" }]);
    expect(fast.after).toEqual(full.after);
  });

  it.each(notPayable)("changes nothing for a payment that $what", async (one) => {
    const { before, result, after } = await pay(one, payBatchStatement);
    expect(result).toEqual([]);
    expect(after).toEqual(before);
  });

  it("pays a payment once for two webhooks in one batch (G6)", async () => {
    const subject = await openSubject();
    const { id } = subject.payment;
    const outcome = paid({ reference: subject.reference, receipt: subject.receipt });
    expect(
      await runBatch(payBatchStatement, [
        [id, outcome],
        [id, outcome],
      ]),
    ).toHaveLength(1);
    expect((await ground.view(subject.event.orderId)).order).toMatchObject({ version: 3, status: "succeeded" });
  });

  it("pays a payment once and records one receipt for two webhooks with different receipts (G6)", async () => {
    const { payment, reference } = await openSubject();
    const receipts = [nextOrderId(), nextOrderId()];
    const evidence = receipts.map((receipt): [string, Outcome] => [payment.id, paid({ reference, receipt })]);
    expect(await runBatch(payBatchStatement, evidence)).toHaveLength(1);
    const { rows } = await ground.database.pool.query("select from receipt where payment_id = $1", [payment.id]);
    expect(rows).toHaveLength(1);
  });

  it("skips a locked payment and a payment of a locked order", async () => {
    const subjects = [await openSubject(), await openSubject(), await openSubject()];
    const [{ event }, { payment }] = subjects as [Subject, Subject];
    const order = await lockOrder(ground.database, event.orderId);
    const holder = await ground.database.pool.connect();
    onTestFinished(() => holder.release());
    await holder.query("begin");
    await holder.query("select from payment where id = $1 for update", [payment.id]);
    const evidence = subjects.map((one): [string, Outcome] => [
      one.payment.id,
      paid({ reference: one.reference, receipt: one.receipt }),
    ]);
    expect(await runBatch(payBatchStatement, evidence)).toMatchObject([{ nth: 2, result: "applied" }]);
    await holder.query("commit");
    await order.release();
  });

  it("pays one of two payments with the same receipt", async () => {
    const subjects = [await openSubject(), await openSubject()];
    const receipt = nextOrderId();
    const evidence = subjects.map(({ payment, reference }): [string, Outcome] => [
      payment.id,
      paid({ reference, receipt }),
    ]);
    const [row, ...more] = await runBatch(payBatchStatement, evidence);
    expect(more).toEqual([]);
    const statuses = await Promise.all(
      subjects.map(async ({ event }) => (await ground.view(event.orderId)).order.status),
    );
    expect(statuses.filter((status) => status === "succeeded")).toHaveLength(1);
    expect(statuses[row?.nth ?? -1]).toBe("succeeded");
  });
});
