/** Lists of payments: the newest first, or with `paidFrom` or `paidTo` by the time at which the money moved. */
import { type Kysely, sql } from "kysely";
import { usedProviders } from "./claim-due.ts";
import type { Reason, Status } from "./order.ts";
import { isPaidWithin, receiptsOf } from "./order-filter.ts";
import { all, inOrder, merged, type Place, type Range, readPage, readPlace, type Sql, writePlace } from "./page.ts";
import { type PaymentRow, type PaymentView, toPaymentView } from "./payment-view.ts";
import type { Tables } from "./tables.ts";

export interface PaymentFilter {
  id?: string | undefined;
  status?: Status | undefined;
  provider?: string | undefined;
  reason?: Reason | undefined;
  orderId?: string | undefined;
  /** Includes payments started at this time or later. */
  from?: Date | undefined;
  /** Includes payments started before this time. */
  to?: Date | undefined;
  /** Includes payments whose money moved at this time or later. */
  paidFrom?: Date | undefined;
  /** Includes payments whose money moved before this time. */
  paidTo?: Date | undefined;
  receipt?: string | undefined;
  reference?: string | undefined;
  /** In E.164. */
  phones?: readonly string[] | undefined;
  /** The `nextCursor` of the previous page, read with the same filter. */
  cursor?: string | undefined;
  limit: number;
}

/** A payment outside its order. */
export interface ListedPayment extends PaymentView {
  orderId: string;
  amountMinor: number;
  currency: string;
}

export interface PaymentPage {
  data: ListedPayment[];
  nextCursor: string | null;
}

type ListedRow = PaymentRow & { order_id: string };

/**
 * A page may have fewer payments than its limit, or none, and still a `nextCursor`. Throws `body_invalid` for a cursor that no list
 * returned.
 */
export async function listPayments(db: Kysely<Tables>, filter: PaymentFilter): Promise<PaymentPage> {
  const after = readPlace(filter.cursor);
  const conditions = conditionsOf(filter);
  const { range, serves } = sourceOf(filter, conditions, after);
  const others = Object.entries(conditions).filter(([name]) => !(serves as readonly string[]).includes(name));
  const { rows, next } = await readPage<ListedRow>(db, {
    name: "payment",
    range,
    conditions: others.flatMap(([, condition]) => condition),
    limit: filter.limit,
  });
  return { data: rows.map(toListedPayment), nextCursor: next ? writePlace(next) : null };
}

const toListedPayment = (row: ListedRow): ListedPayment => ({
  ...toPaymentView(row),
  orderId: row.order_id,
  amountMinor: row.amount_minor,
  currency: row.currency,
});

type Conditions = ReturnType<typeof conditionsOf>;

/** A condition for each part of the filter that is given. */
function conditionsOf(filter: PaymentFilter) {
  const { id, status, provider, reason, orderId, from, to, paidFrom, paidTo, receipt, reference, phones } = filter;
  const when = (isGiven: unknown, condition: () => Sql): Sql[] => (isGiven ? [condition()] : []);
  return {
    ofId: when(id, () => sql`payment.id = ${id}::uuid`),
    ofStatus: when(status, () => sql`payment.status = ${status}`),
    ofProvider: when(provider, () => sql`payment.provider = ${provider}`),
    ofReason: when(reason, () => sql`payment.reason = ${reason}`),
    ofOrder: when(orderId, () => sql`payment.order_uuid = (select id from "order" where order_id = ${orderId})`),
    startsFrom: when(from, () => sql`payment.started_at >= ${from}::timestamptz`),
    startsBefore: when(to, () => sql`payment.started_at < ${to}::timestamptz`),
    ofPaid: when(paidFrom ?? paidTo, () => all([sql`payment.status = 'succeeded'`, isPaidWithin(filter)])),
    ofReceipt: when(receipt, () => sql`payment.receipt = any (${receiptsOf(receipt ?? "")}::text[])`),
    ofReference: when(reference, () => sql`payment.reference = ${reference}`),
    ofPhone: when(phones, () => sql`payment.phone = any (${phones}::text[])`),
  };
}

interface Source {
  range: Range;
  serves: readonly (keyof Conditions)[];
}

/** The source with the fewest payments, as far as the filter shows. */
function sourceOf(filter: PaymentFilter, conditions: Conditions, after: Place | undefined): Source {
  const { status, provider, reason, orderId, receipt, reference, phones, paidFrom, paidTo } = filter;
  const { ofStatus, ofProvider, ofReason, ofOrder, startsFrom, startsBefore, ofReceipt } = conditions;
  const isBefore = (at: "started_at" | "paid_at"): Sql[] =>
    after ? [sql`(${sql.ref(`payment.${at}`)}, payment.id) < (${after.at}::timestamptz, ${after.id}::uuid)`] : [];
  // With both ends PostgreSQL would expect fewer payments than there are, and would sort them all instead of reading the first ones.
  const started = [...startsFrom, ...(after ? isBefore("started_at") : startsBefore)];
  const within: (keyof Conditions)[] = after ? ["startsFrom"] : ["startsFrom", "startsBefore"];
  const newest = (ofIndex: readonly Sql[]): Range => newestWhere("started_at", all([...ofIndex, ...started]));
  if (filter.id !== undefined) return { range: newest(conditions.ofId), serves: ["ofId", ...within] };
  if (orderId !== undefined) return { range: newest(ofOrder), serves: ["ofOrder", ...within] };
  if (receipt !== undefined) return { range: newest(ofReceipt), serves: ["ofReceipt", ...within] };
  if (reference !== undefined) return { range: ofReference(reference, newest), serves: ["ofReference", ...within] };
  if (phones) return { range: ofPhones(phones, newest), serves: ["ofPhone", ...within] };
  if (reason !== undefined) return { range: newest(ofReason), serves: ["ofReason", ...within] };
  // The status is checked again, because money may have moved for a payment in review.
  if (paidFrom ?? paidTo) {
    return { range: newestWhere("paid_at", all([isPaidWithin(filter), ...isBefore("paid_at")])), serves: [] };
  }
  // Most payments of a provider succeed, and few payments have any other status.
  if (status !== undefined && status !== "succeeded") {
    return { range: newest([...ofStatus, sql`payment.status <> 'succeeded'`]), serves: ["ofStatus", ...within] };
  }
  if (provider !== undefined) return { range: newest(ofProvider), serves: ["ofProvider", ...within] };
  return { range: ofAllProviders(newest), serves: within };
}

/** The payments of one range, newest first. */
const newestWhere =
  (at: "started_at" | "paid_at", condition: Sql): Range =>
  (limit) =>
    sql`select payment.*, payment.${sql.ref(at)} as sort_at, payment.id as sort_id,
        (select order_id from "order" where "order".id = payment.order_uuid) as order_id
      from payment where ${condition} ${inOrder(`payment.${at}`, "payment.id")} limit ${limit}`;

/** The ranges of each provider that has payments, because the index is by provider. Finds the next provider with one probe each. */
const ofEachProvider =
  (range: Range): Range =>
  (limit) =>
    sql`with recursive ${sql.raw(usedProviders)}
      select part.* from used_provider u cross join lateral (${range(limit)}) part
      where u.provider is not null ${inOrder("part.sort_at", "part.sort_id")} limit ${limit}`;

const ofAllProviders = (newest: (ofIndex: readonly Sql[]) => Range): Range =>
  ofEachProvider(newest([sql`payment.provider = u.provider`]));

const ofReference = (reference: string, newest: (ofIndex: readonly Sql[]) => Range): Range =>
  ofEachProvider(newest([sql`payment.provider = u.provider`, sql`payment.reference = ${reference}`]));

/** Reads each phone by itself, because the index has the order of one phone's payments only. */
const ofPhones = (phones: readonly string[], newest: (ofIndex: readonly Sql[]) => Range): Range =>
  merged(phones.map((phone) => newest([sql`payment.phone = ${phone}`, sql`payment.phone ~ '^[+][0-9]+$'`])));
