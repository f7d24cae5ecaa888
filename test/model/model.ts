/**
 * The model of orders and payments that real nodes are compared with. It is pure and follows the decision table in
 * docs/architecture.md. It has three providers: the webhook has the amount and the query does not (`daraja`), the query has
 * it and the webhook does not (`zenopay`), and the payer approves before we complete the payment (`bkash`).
 */
import type { Status } from "../../client-sdk/protocol.ts";

export type ModelProvider = "daraja" | "zenopay" | "bkash";

export const providersOf: Record<
  ModelProvider,
  { currency: string; amountMinor: number; phone?: string; bareIsEnough: boolean }
> = {
  daraja: { currency: "KES", amountMinor: 15_000, phone: "+254712345600", bareIsEnough: true },
  zenopay: { currency: "TZS", amountMinor: 150_000, phone: "+255712345600", bareIsEnough: false },
  bkash: { currency: "BDT", amountMinor: 15_000, bareIsEnough: false },
};

const climb: readonly Status[] = ["pending", "processing", "expired", "failed", "review", "succeeded"];
const rank = (status: Status): number => climb.indexOf(status);

/**
 * Evidence about a payment. `states`, for successes: the agreed amount (`full`), another amount (`wrong`), or no amount
 * (`bare`).
 */
export interface Evidence {
  status: Exclude<Status, "pending" | "review">;
  states?: "full" | "wrong" | "bare";
  receipt?: string;
}

export interface ModelPayment {
  id: string;
  provider: ModelProvider;
  /** The path of its webhook URL; for bKash, of its return URL. */
  path: string;
  status: Status;
  /** The provider's reference. Nodes know it only when `hasReference`. */
  reference: string;
  hasReference: boolean;
  receipt?: string;
  isAmountKnown: boolean;
  /** Whether the reason is a mismatch. */
  hasMismatch: boolean;
  /** Whether a person has rejected it. Only full evidence lifts it again. */
  isRejected: boolean;
}

const receiptBegins: Record<ModelProvider, string> = { daraja: "D", zenopay: "ZENO", bkash: "TRX" };

/** The provider's receipt for a payment. */
export const receiptOf = ({ id, provider }: Pick<ModelPayment, "id" | "provider">): string =>
  `${receiptBegins[provider]}${id.slice(-12).toUpperCase()}`;

export interface ModelOrder {
  id: string;
  orderId: string;
  token: string;
  provider: ModelProvider;
  status: Status;
  version: number;
  /** The attempts, in order. */
  payments: ModelPayment[];
  /** The id of the payment whose state the order shows. */
  shown: string;
  alsoPaid: string[];
}

export interface Model {
  orders: ModelOrder[];
  /** The payment that had a receipt first, by provider and receipt. */
  receipts: Map<string, string>;
  watchers: { order: number; isConnected: boolean }[];
}

export const createModel = (): Model => ({ orders: [], receipts: new Map(), watchers: [] });

/** Whether the order accepts another attempt. */
export const isRetryable = ({ status }: ModelOrder): boolean => status === "failed" || status === "expired";

/** Whether a query can still change the payment. */
export const isOpen = ({ status }: ModelPayment): boolean => status !== "succeeded" && status !== "review";

/** Whether an unproven webhook still causes a query. */
export const isChecked = (payment: ModelPayment): boolean => isOpen(payment) && !payment.isRejected;

/** Whether the status ranks above the payment's. */
export const isAbove = (status: Status, payment: ModelPayment): boolean => rank(status) > rank(payment.status);

/** Applies proven evidence. Changes the order at most once; returns whether it did. */
export function apply(model: Model, order: ModelOrder, payment: ModelPayment, evidence: Evidence): boolean {
  if (evidence.status === "succeeded") return applySuccess(model, order, payment, evidence);
  if (!isAbove(evidence.status, payment)) return false;
  Object.assign(payment, { status: evidence.status, isRejected: false, hasMismatch: false });
  return show(order, payment, true);
}

function applySuccess(model: Model, order: ModelOrder, payment: ModelPayment, evidence: Evidence): boolean {
  const { provider, status: before } = payment;
  const isReused = isReceiptReused(model, payment, evidence);
  const isMismatch = isReused || evidence.states === "wrong";
  const target = targetOf(payment, evidence, isMismatch);
  const isAccepted = evidence.states === "full" || isMismatch || providersOf[provider].bareIsEnough;
  const climbs = target !== undefined && isAbove(target, payment);
  const revealsMismatch = before === "succeeded" && isMismatch && !payment.hasMismatch;
  const addsFacts = isAccepted && hasNewFacts(payment, evidence);
  if (climbs) Object.assign(payment, { status: target, isRejected: false });
  if (climbs || revealsMismatch) payment.hasMismatch = isMismatch;
  if (isAccepted) storeFacts(payment, evidence, climbs && before === "review");
  return (climbs || revealsMismatch || addsFacts) && show(order, payment, climbs);
}

/** Assigns the receipt to its first payment; returns whether another payment has it. */
function isReceiptReused(model: Model, { id, provider }: ModelPayment, { receipt }: Evidence): boolean {
  if (receipt === undefined) return false;
  const key = `${provider} ${receipt}`;
  const owner = model.receipts.get(key) ?? id;
  model.receipts.set(key, owner);
  return owner !== id;
}

/** The status to which a success may lift the payment; undefined when the evidence is not enough. */
function targetOf(
  { provider, status, isRejected }: ModelPayment,
  { states }: Evidence,
  isMismatch: boolean,
): Status | undefined {
  if (isRejected && states !== "full") return undefined;
  if (isMismatch) return "review";
  const isEnough = states === "full" || (providersOf[provider].bareIsEnough && status !== "review");
  return isEnough ? "succeeded" : undefined;
}

const hasNewFacts = (payment: ModelPayment, { receipt, states }: Evidence): boolean =>
  (payment.receipt === undefined && receipt !== undefined) || (!payment.isAmountKnown && states !== "bare");

/** The first receipt stays, except when full evidence lifts a payment from review. */
function storeFacts(payment: ModelPayment, { receipt, states }: Evidence, replacesReceipt: boolean): void {
  const stored = replacesReceipt ? (receipt ?? payment.receipt) : (payment.receipt ?? receipt);
  if (stored !== undefined) payment.receipt = stored;
  payment.isAmountKnown ||= states !== "bare";
}

export const decisions = ["succeeded", "failed"] as const;

export type Decision = (typeof decisions)[number];

/**
 * Applies a person's decision on a payment in review. A rejection is the only step down. An accepted payment keeps its
 * mismatch as reason.
 */
export function decide(order: ModelOrder, payment: ModelPayment, as: Decision): void {
  const isRejected = as === "failed";
  Object.assign(payment, { status: as, hasMismatch: payment.hasMismatch && !isRejected, isRejected });
  if (!isRejected) show(order, payment, true);
  else if (order.status === "review") {
    const shown = order.payments.findLast(({ status }) => status === "review") ?? order.payments.at(-1) ?? payment;
    Object.assign(order, { version: order.version + 1, status: shown.status, shown: shown.id });
  }
}

/** The prompt's age, and the failure of the last query with the time since it was first reported. In seconds. */
export interface QueryState {
  ageS: number;
  suspicion?: { kind: string; sinceS: number };
}

/** Whether a query's failure is confirmed: by two queries at least 15 s apart, and a prompt of at least 60 s. */
export const isConfirmed = ({ ageS, suspicion }: QueryState, kind: string): boolean =>
  suspicion?.kind === kind && suspicion.sinceS >= 15 && ageS >= 60;

/** Shows the payment's new state on the order; returns whether that makes a new version. */
function show(order: ModelOrder, payment: ModelPayment, climbs: boolean): boolean {
  if (!changesOrder(order, payment, climbs)) return false;
  order.version += 1;
  if (order.status !== "succeeded") Object.assign(order, { status: payment.status, shown: payment.id });
  else if (order.shown !== payment.id) order.alsoPaid.push(payment.id);
  return true;
}

function changesOrder({ status, shown, payments }: ModelOrder, payment: ModelPayment, climbs: boolean): boolean {
  const isOwn = shown === payment.id;
  const isPaid = status === "succeeded";
  if (payment.status === "succeeded") return !isPaid || isOwn || climbs;
  if (payment.status === "review") return !isPaid && (status !== "review" || isOwn);
  return payments.at(-1) === payment && !isPaid && status !== "review";
}
