/**
 * The decision table of docs/architecture.md, walked cell by cell: each one on the full decision alone, with a webhook and in a
 * batch, on the fast path where there is one, and through the store.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AdvancedRow } from "../../server/order/advance.ts";
import { advanceBatchStatement, advanceStatement, advanceWithWebhookStatement } from "../../server/order/decide.ts";
import { type InboxRow, isAcceptance, isPlainSuccess, toEvidence } from "../../server/order/evidence.ts";
import { acceptStatement, payBatchStatement } from "../../server/order/fast-path.ts";
import type { Outcome, StatusEvent } from "../../server/order/order.ts";
import { createReview } from "../../server/order/review.ts";
import type { Opened } from "../../server/order/store.ts";
import { nextOrderId, openTestStore } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

/** Daraja states no amounts, MTN does: see `openTestStore`. */
const amountless = "daraja";
const usual = "mtn";

/** The rows of the Markdown table that follows this header, by their first cell; each row's cells by their column. */
function readTable(header: string): Map<string, Map<string, string>> {
  const text = readFileSync(new URL("../../docs/architecture.md", import.meta.url), "utf8");
  const lines = text.slice(text.indexOf(`| ${header} |`)).split("\n");
  const rows = lines.slice(0, lines.indexOf("")).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  const [columns = [], , ...body] = rows;
  return new Map(
    body.map(([name = "", ...cells]) => [name, new Map(cells.map((cell, index) => [columns[index + 1] ?? "", cell]))]),
  );
}

/** One payment, its own reference and its own receipt. */
interface Subject extends Required<Opened> {
  reference: string;
  receipt: string;
}

async function openSubject(provider: string, orderId = nextOrderId()): Promise<Subject> {
  const opened = await ground.open({ orderId, provider, firstCheckS: 1_000, deadlineS: 1_000 });
  return { ...opened, reference: `ref-${opened.payment.id}`, receipt: nextOrderId() };
}

const agreed = { amountMinor: 15_000n, currency: "KES" } as const;

const tell = (subject: Subject, outcome: Outcome) => ground.store.advance(subject.payment.id, outcome);

const accept = (subject: Subject) =>
  tell(subject, { status: "processing", reference: subject.reference, source: "reply" });

const pay = (subject: Subject, more: Partial<Outcome> = {}) =>
  tell(subject, { status: "succeeded", ...agreed, receipt: subject.receipt, source: "webhook", ...more });

const review = () => createReview({ ...ground, announce: () => undefined });

const resolve = ({ event, payment }: Subject, as: "succeeded" | "failed") =>
  review().resolve({ orderId: event.orderId, paymentId: payment.id, as, note: "seen on the statement" });

/** Brings an open payment to the column's status. */
const columns: Record<string, (subject: Subject) => Promise<unknown>> = {
  pending: async () => undefined,
  processing: accept,
  async expired(subject) {
    await accept(subject);
    await tell(subject, { status: "expired", reason: "deadline", source: "clock" });
  },
  async failed(subject) {
    await accept(subject);
    await tell(subject, { status: "failed", reason: "cancelled", source: "webhook" });
  },
  async rejected(subject) {
    await columns.review?.(subject);
    await resolve(subject, "failed");
  },
  async review(subject) {
    await accept(subject);
    await pay(subject, { amountMinor: 14_000n, receipt: nextOrderId() });
  },
  async succeeded(subject) {
    await accept(subject);
    await pay(subject, { receipt: nextOrderId() });
  },
  async "succeeded, no receipt"(subject) {
    await accept(subject);
    const { receipt: _, ...success } = { status: "succeeded", ...agreed, receipt: "", source: "webhook" } as const;
    await tell(subject, success);
  },
};

interface Row {
  provider?: string;
  outcomes: (subject: Subject) => Outcome[] | Promise<Outcome[]>;
  /** What happens between the payment's status and the evidence. */
  before?: (subject: Subject) => Promise<unknown>;
}

const success = (more: Partial<Outcome> = {}) => ({
  outcomes: ({ reference, receipt }: Subject): Outcome[] => [
    { status: "succeeded", reference, receipt, source: "webhook", ...more },
  ],
});

const ends = (status: "failed" | "expired", ...sources: Outcome["source"][]) => ({
  outcomes: ({ reference }: Subject): Outcome[] =>
    sources.map((source) => ({ status, reason: status === "failed" ? "declined" : "no_response", reference, source })),
});

/** A first query that reported the same, long enough ago, of a prompt that is not fresh. */
const suspect =
  (status: "failed" | "expired") =>
  async (subject: Subject): Promise<void> => {
    for (const outcome of ends(status, "query").outcomes(subject)) await tell(subject, outcome);
    await ground.database.pool.query(
      `update payment set started_at = started_at - interval '1 hour', expires_at = expires_at + interval '1 hour',
         suspected_at = suspected_at - interval '1 hour' where id = $1`,
      [subject.payment.id],
    );
  };

const beginCompletion = ({ payment }: Subject) =>
  ground.database.pool.query("update payment set completing_at = clock_timestamp() where id = $1", [payment.id]);

const rows: Record<string, Row> = {
  "The provider accepted the request": {
    outcomes: ({ reference }) => [{ status: "processing", reference, source: "reply" }],
  },
  "The payment is still pending": { outcomes: ({ reference }) => [{ status: "pending", reference, source: "query" }] },
  "Success, agreed amount and currency": {
    outcomes: (subject) => [
      ...success(agreed).outcomes(subject),
      ...success({ ...agreed, source: "query" }).outcomes(subject),
    ],
  },
  "Success without an amount, provider never states one": { provider: amountless, ...success() },
  "Success without an amount, provider states amounts, by webhook": success(),
  "Success without an amount, provider states amounts, by query": success({ source: "query" }),
  "Success, another amount": success({ ...agreed, amountMinor: 14_999n }),
  "Success, another currency": success({ ...agreed, currency: "TZS" }),
  "Success, unreadable amount, by query": success({ reason: "amount_mismatch", source: "query" }),
  "Success, unreadable amount, by webhook": success({ reason: "amount_mismatch" }),
  "Success, receipt of another payment": {
    ...success(agreed),
    async before({ receipt }) {
      await pay({ ...(await openSubject(usual)), receipt });
    },
  },
  "Success, reference of another payment": success({ ...agreed, reference: "another" }),
  "Failure, by webhook, reply or payer": ends("failed", "webhook", "reply", "payer"),
  "Failure, by a first query": ends("failed", "query"),
  "Failure, by a second query": { ...ends("failed", "query"), before: suspect("failed") },
  "Failure, by the payer during completion": { ...ends("failed", "payer"), before: beginCompletion },
  "Failure, reference of another payment": {
    outcomes: () => [{ status: "failed", reason: "declined", reference: "another", source: "webhook" }],
  },
  "Expiry, by webhook": ends("expired", "webhook"),
  "Expiry, by a first query": ends("expired", "query"),
  "Expiry, by a second query": { ...ends("expired", "query"), before: suspect("expired") },
  "Expiry, by the clock": ends("expired", "clock"),
  "Expiry, by the clock during completion": { ...ends("expired", "clock"), before: beginCompletion },
};

const webhook: InboxRow = { provider: usual, proof: "secret", headers: {}, body: Buffer.from("{}") };

/** Runs one statement of the decision. No row: the statement leaves the evidence to another one. */
async function runStatement(
  statement: { name: string; text: string },
  { payment }: Subject,
  outcome: Outcome,
): Promise<AdvancedRow | undefined> {
  const evidence = toEvidence(payment.id, outcome, webhook);
  const lists = statement === payBatchStatement ? [] : [[amountless], []];
  const values =
    statement === acceptStatement
      ? [evidence.payment_id, evidence.new_reference, evidence.new_action]
      : [JSON.stringify([{ nth: 0, ...evidence }]), ...lists];
  return (await ground.database.pool.query<AdvancedRow>({ ...statement, values })).rows[0];
}

type Path = (subject: Subject, outcome: Outcome) => Promise<string | undefined>;

const through =
  (statement: { name: string; text: string }): Path =>
  async (subject, outcome) =>
    (await runStatement(statement, subject, outcome))?.result;

/** Every way for this evidence to be decided. Only a fast path may decline it. */
function pathsOf(outcome: Outcome): [name: string, path: Path][] {
  return [
    ["advance", through(advanceStatement)],
    ["advance-with-webhook", through(advanceWithWebhookStatement)],
    ["advance-batch", through(advanceBatchStatement)],
    ["the store", async (subject) => (await tell(subject, outcome)).result],
    [
      "the store, with a webhook",
      async ({ payment }) => (await ground.store.advance(payment.id, outcome, webhook)).result,
    ],
    ...(isAcceptance(outcome) ? [["accept", through(acceptStatement)] as [string, Path]] : []),
    ...(isPlainSuccess(outcome) ? [["pay-batch", through(payBatchStatement)] as [string, Path]] : []),
  ];
}

interface State {
  status: string;
  reason: string | null;
  suspected: string | null;
  is_due: boolean;
  version: number;
  event_status: string;
  event_reason: string | null;
  also_paid: string[];
  results: string[] | null;
  event_results: string[] | null;
  events: number;
  webhooks: number;
}

async function stateOf({ payment }: Subject): Promise<State> {
  const { rows: found } = await ground.database.pool.query<State>(
    `select p.status, p.reason, p.suspected, coalesce(p.check_at <= clock_timestamp(), false) as is_due, o.version,
       e.status as event_status, e.reason as event_reason, o.also_paid, o.results, e.results as event_results,
       (select count(*)::int from event where order_uuid = o.id) as events,
       (select count(*)::int from webhook where payment_id = p.id) as webhooks
     from payment p join "order" o on o.id = p.order_uuid join event e on e.order_uuid = o.id and e.version = o.version
     where p.id = $1`,
    [payment.id],
  );
  if (!found[0]) throw new Error("the payment is gone");
  return found[0];
}

const withReason = (verb: string, reason: string | null): string => (reason === null ? verb : `${verb} \`${reason}\``);

/** The cell that describes what happened to the payment. */
function cellOf(before: State, after: State, result: string | undefined, stated: string | undefined): string {
  if (result === "hint") return after.is_due && !before.is_due ? "check" : "ignored";
  if (after.status !== before.status) {
    const isStated = /failed|expired/.test(after.status) && after.reason === stated;
    return withReason(`**${after.status}**`, isStated ? null : after.reason);
  }
  if (after.version > before.version) return withReason("keeps", after.reason === before.reason ? null : after.reason);
  return after.suspected !== null && before.suspected === null ? "suspected" : "–";
}

/** What is published: one event with the next version for a change, and nothing otherwise. */
function expectPublished(cell: string, before: State, after: State): void {
  const changes = /^(\*\*|keeps)/.test(cell);
  expect(after.events - before.events).toBe(changes ? 1 : 0);
  expect(after.version - before.version).toBe(changes ? 1 : 0);
  expect(after.events).toBe(after.version);
  expect([after.event_status, after.event_reason]).toEqual([after.status, after.reason]);
  expect([after.results, after.event_results]).toEqual([before.results, before.results]);
}

const voucher = { id: "voucher-1", kind: "voucher", title: "Airtime", code: "4821" } as const;

async function prepare(row: Row, column: string): Promise<Subject> {
  const subject = await openSubject(row.provider ?? usual);
  await columns[column]?.(subject);
  if (column.startsWith("succeeded")) await ground.store.putResult(subject.event.orderId, voucher);
  await row.before?.(subject);
  return subject;
}

/** Walks one cell on every path, and returns what the paths did that decided. */
async function walk(row: Row, column: string): Promise<{ did: string[]; declined: number }> {
  const did: string[] = [];
  let declined = 0;
  const outcomes = await row.outcomes(await openSubject(usual));
  for (const index of outcomes.keys()) {
    for (const [name] of pathsOf(outcomes[index] as Outcome)) {
      const subject = await prepare(row, column);
      const outcome = (await row.outcomes(subject))[index] as Outcome;
      const path = pathsOf(outcome).find(([other]) => other === name)?.[1] as Path;
      const before = await stateOf(subject);
      const result = await path(subject, outcome);
      const after = await stateOf(subject);
      if (result === undefined) {
        expect({ name, after }).toEqual({ name: expect.stringMatching(/^(accept|pay-batch)$/), after: before });
        declined += 1;
        continue;
      }
      const cell = cellOf(before, after, result, outcome.reason);
      expectPublished(cell, before, after);
      did.push(`${outcome.source}, ${name}: ${cell}`);
    }
  }
  return { did, declined };
}

const endOf = (did: string): string => did.slice(did.indexOf(": ") + 2);

describe("decision table", () => {
  const table = readTable("evidence");
  const persons = ["A person accepts", "A person rejects"];

  it("has the rows and columns that the test walks", () => {
    expect([...table.keys()]).toEqual([...Object.keys(rows), ...persons]);
    for (const cells of table.values()) expect([...cells.keys()]).toEqual(Object.keys(columns));
  });

  const cells = Object.entries(rows).flatMap(([name, row]) =>
    Object.keys(columns).map((column) => ({ name, row, column, cell: table.get(name)?.get(column) })),
  );

  it.each(cells)("decides as written: $name, while $column: $cell", async ({ row, column, cell }) => {
    const { did } = await walk(row, column);
    expect(did.filter((one) => endOf(one) !== cell)).toEqual([]);
    expect(did.length).toBeGreaterThanOrEqual(5);
  });

  const decisions = persons.flatMap((name) =>
    Object.keys(columns).map((column) => ({ name, column, cell: table.get(name)?.get(column) })),
  );

  it.each(decisions)("records a decision as written: $name, while $column: $cell", async ({ name, column, cell }) => {
    const subject = await prepare({ outcomes: () => [] }, column);
    const before = await stateOf(subject);
    const as = name === "A person accepts" ? "succeeded" : "failed";
    const refused = await resolve(subject, as).then(
      () => undefined,
      (error: { code: string }) => error.code,
    );
    const after = await stateOf(subject);
    expect(refused === "not_in_review" ? "refused" : cellOf(before, after, "applied", undefined)).toBe(cell);
    expect(after.events - before.events).toBe(cell === "refused" ? 0 : 1);
  });

  it.each([
    ["accept", "The provider accepted the request", "pending"],
    ["pay-batch", "Success, agreed amount and currency", "processing"],
  ])("has a fast path that decides its own cell: %s", async (path, name, column) => {
    const { did } = await walk(rows[name] as Row, column);
    expect(did.map((one) => one.split(/, |: /)[1])).toContain(path);
  });

  it.each(["review", "rejected"])("adds a receipt and an amount that a payment lacks, while %s", async (column) => {
    const subject = await prepare({ provider: amountless, outcomes: () => [] }, column);
    await ground.database.pool.query("update payment set receipt = null, amount_paid_minor = null where id = $1", [
      subject.payment.id,
    ]);
    const before = await stateOf(subject);
    const [outcome] = success().outcomes(subject);
    const result = await through(advanceWithWebhookStatement)(subject, outcome as Outcome);
    expect(cellOf(before, await stateOf(subject), result, undefined)).toBe("keeps");
    expect((await ground.view(subject.event.orderId)).payments[0]?.receipt).toBe(subject.receipt);
  });

  it.each(["review", "rejected"])("records the amount of the success that ends the state %s (G8)", async (column) => {
    const subject = await prepare({ outcomes: () => [] }, column);
    await pay(subject);
    expect((await ground.view(subject.event.orderId)).order).toMatchObject({
      status: "succeeded",
      payment: { amountPaidMinor: 15_000, receipt: subject.receipt },
    });
  });
});

/** Each brings an order to the column, and returns the payment whose change the row is about; `last` does that change. */
const orderColumns: Record<string, () => Promise<Subject>> = {
  "the order's latest payment": () => openSubject(usual),
  async "an earlier attempt, the latest is open"() {
    const first = await openFailed();
    await openSubject(usual, first.event.orderId);
    return first;
  },
  async "an earlier attempt, the latest failed"() {
    const first = await openFailed();
    await tell(await openSubject(usual, first.event.orderId), { status: "failed", reason: "busy", source: "reply" });
    return first;
  },
  async "another payment has paid the order"() {
    const first = await openFailed();
    await pay(await openSubject(usual, first.event.orderId));
    return first;
  },
  async "another payment is in review"() {
    const first = await openFailed();
    await pay(await openSubject(usual, first.event.orderId), { amountMinor: 1n });
    return first;
  },
};

/** An attempt that expired: it can still climb to every later status. */
async function openFailed(): Promise<Subject> {
  const subject = await openSubject(usual);
  await accept(subject);
  await tell(subject, { status: "expired", reason: "deadline", source: "clock" });
  return subject;
}

const orderRows: Record<string, (subject: Subject) => Promise<unknown>> = {
  "**succeeded**": pay,
  "**review**": (subject) => pay(subject, { amountMinor: 1n }),
  "**failed**": (subject) => tell(subject, { status: "failed", reason: "cancelled", source: "webhook" }),
  "a succeeded payment gets a receipt, an amount or a reason": (subject) => pay(subject, { amountMinor: 14_999n }),
};

/** The table's words for what happened to the order. */
function orderCellOf(before: StatusEvent, after: StatusEvent): string {
  if (after.status !== before.status) return `**${after.status}**`;
  if (after.version === before.version) return "–";
  return withReason("keeps", after.reason === before.reason ? null : (after.reason ?? null));
}

describe("the order's part of the decision table", () => {
  const table = readTable("change of the payment");

  it("has the rows and columns that the test walks", () => {
    expect([...table.keys()]).toEqual(Object.keys(orderRows));
    for (const cells of table.values()) expect([...cells.keys()]).toEqual(Object.keys(orderColumns));
  });

  const cells = Object.entries(orderRows).flatMap(([name, change]) =>
    Object.entries(orderColumns).map(([column, open]) => ({
      name,
      change,
      column,
      open,
      cell: table.get(name)?.get(column),
    })),
  );

  it.each(cells)("publishes as written: $name of $column: $cell", async ({ name, change, open, cell }) => {
    const subject = await open();
    if (name.startsWith("a succeeded payment")) await pay(subject);
    const isPaid = (await ground.view(subject.event.orderId)).order.status === "succeeded";
    if (isPaid) await ground.store.putResult(subject.event.orderId, voucher);
    const before = await stateOf(subject);
    const was = (await ground.view(subject.event.orderId)).order;
    await change(subject);
    const after = await stateOf(subject);
    const { order } = await ground.view(subject.event.orderId);
    expect([after.status, after.reason]).not.toEqual([before.status, before.reason]);
    expect(after.events - before.events).toBe(cell === "–" ? 0 : 1);
    expect(orderCellOf(was, order)).toBe(cell);
    expect([order.results, after.event_results]).toEqual(isPaid ? [[voucher], [voucher]] : [undefined, null]);
    const isPaidTwice = cell === "keeps `paid_twice`";
    expect(order.alsoPaid ?? []).toEqual(isPaidTwice ? [subject.payment.id] : (was.alsoPaid ?? []));
  });
});
