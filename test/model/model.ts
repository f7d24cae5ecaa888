/**
 * What ought to become of orders, by the contract (§1) and nothing else: the model that the real thing is compared with.
 * Pure. It knows three providers: one whose webhooks state amounts and whose query does not (`daraja`), one the other way
 * round (`zenopay`), and one at whose page the payer agrees before we take the money (`bkash`).
 */
import type { Status } from "../../client-sdk/protocol.ts";

export type ProviderDefinition = "daraja" | "zenopay" | "bkash";

export const providersOf: Record<
  ProviderDefinition,
  { currency: string; amountMinor: number; phone?: string; bareIsEnough: boolean }
> = {
  daraja: { currency: "KES", amountMinor: 15_000, phone: "+254712345600", bareIsEnough: true },
  zenopay: { currency: "TZS", amountMinor: 150_000, phone: "+255712345600", bareIsEnough: false },
  bkash: { currency: "BDT", amountMinor: 15_000, bareIsEnough: false },
};

const climb: readonly Status[] = ["pending", "processing", "expired", "failed", "review", "succeeded"];
const rank = (status: Status): number => climb.indexOf(status);

/** Something that happened to a payment. Of successes: what is stated to have been paid. */
export interface Evidence {
  status: Exclude<Status, "pending" | "review">;
  states?: "full" | "wrong" | "bare";
  receipt?: string;
}

export interface ModelPayment {
  id: string;
  provider: ProviderDefinition;
  /** The path of its webhooks at any node; at bKash, of the payer's return. */
  path: string;
  status: Status;
  /** What the provider knows it by; known to us only when `hasReference`. */
  reference: string;
  hasReference: boolean;
  receipt?: string;
  isAmountKnown: boolean;
  /** The reason says that the facts disagree. */
  isScarred: boolean;
  /** A person has rejected it: only full evidence brings it back. */
  isRejected: boolean;
}

const receiptBegins: Record<ProviderDefinition, string> = { daraja: "D", zenopay: "ZENO", bkash: "TRX" };

/** The receipt that a provider gives for a payment. */
export const receiptOf = ({ id, provider }: Pick<ModelPayment, "id" | "provider">): string =>
  `${receiptBegins[provider]}${id.slice(-12).toUpperCase()}`;

export interface ModelOrder {
  id: string;
  orderId: string;
  token: string;
  provider: ProviderDefinition;
  status: Status;
  version: number;
  /** In the order of the attempts. */
  payments: ModelPayment[];
  /** The payment that the order's state comes from. */
  shown: string;
  alsoPaid: string[];
}

export interface Model {
  orders: ModelOrder[];
  /** Who brought a receipt first, by provider and receipt. */
  receipts: Map<string, string>;
  watchers: { order: number; isConnected: boolean }[];
}

export const createModel = (): Model => ({ orders: [], receipts: new Map(), watchers: [] });

/** Whether another attempt may be made. */
export const isRetryable = ({ status }: ModelOrder): boolean => status === "failed" || status === "expired";

/** Whether there is anything left to learn of it by asking. */
export const isOpen = ({ status }: ModelPayment): boolean => status !== "succeeded" && status !== "review";

/** Whether the provider would still be asked about it when a hint comes. */
export const isAsked = (payment: ModelPayment): boolean => isOpen(payment) && !payment.isRejected;

/** Whether this is higher than what the payment is. */
export const isAbove = (status: Status, payment: ModelPayment): boolean => rank(status) > rank(payment.status);

/** Applies evidence that is proven. Changes the order at most once, and says whether it did. */
export function apply(model: Model, order: ModelOrder, payment: ModelPayment, evidence: Evidence): boolean {
  const { provider, status: was } = payment;
  const isSuccess = evidence.status === "succeeded";
  const isFull = evidence.states === "full";
  let isMismatch = evidence.states === "wrong";
  if (isSuccess && evidence.receipt !== undefined) {
    const key = `${provider} ${evidence.receipt}`;
    const owner = model.receipts.get(key) ?? payment.id;
    model.receipts.set(key, owner);
    isMismatch ||= owner !== payment.id;
  }
  const isEnough = isFull || (providersOf[provider].bareIsEnough && was !== "review");
  const target: Status | undefined = !isSuccess
    ? evidence.status
    : payment.isRejected && !isFull
      ? undefined
      : isMismatch
        ? "review"
        : isEnough
          ? "succeeded"
          : undefined;
  const isBelieved = isSuccess && (isFull || isMismatch || providersOf[provider].bareIsEnough);
  const climbs = target !== undefined && isAbove(target, payment);
  const scars = was === "succeeded" && isMismatch && !payment.isScarred;
  const learns =
    isBelieved &&
    ((payment.receipt === undefined && evidence.receipt !== undefined) ||
      (!payment.isAmountKnown && evidence.states !== "bare"));
  if (climbs) Object.assign(payment, { status: target, isRejected: false });
  if (climbs || scars) payment.isScarred = isMismatch;
  if (isBelieved) {
    const receipt =
      climbs && was === "review" ? (evidence.receipt ?? payment.receipt) : (payment.receipt ?? evidence.receipt);
    if (receipt !== undefined) payment.receipt = receipt;
    payment.isAmountKnown ||= evidence.states !== "bare";
  }
  if (!climbs && !scars && !learns) return false;
  return show(order, payment, climbs);
}

export const decisions = ["succeeded", "failed"] as const;

export type Decision = (typeof decisions)[number];

/**
 * A person decides on a payment in review. Rejecting it is the only step down there is; who accepts it leaves on record
 * that the facts disagree.
 */
export function decide(order: ModelOrder, payment: ModelPayment, as: Decision): void {
  const isRejected = as === "failed";
  Object.assign(payment, { status: as, isScarred: payment.isScarred && !isRejected, isRejected });
  if (!isRejected) show(order, payment, true);
  else if (order.status === "review") {
    const shown = order.payments.findLast(({ status }) => status === "review") ?? order.payments.at(-1) ?? payment;
    Object.assign(order, { version: order.version + 1, status: shown.status, shown: shown.id });
  }
}

/** How old a prompt is, and how long ago a query first said what it said last, of a failure; in seconds. */
export interface Doubt {
  ageS: number;
  suspicion?: { says: string; sinceS: number };
}

/** What only a query says of a failure is believed when it is said twice, 15 s apart, of a prompt that is 60 s old. */
export const isBelieved = ({ ageS, suspicion }: Doubt, says: string): boolean =>
  suspicion?.says === says && suspicion.sinceS >= 15 && ageS >= 60;

function show(order: ModelOrder, payment: ModelPayment, climbs: boolean): boolean {
  const isOwn = order.shown === payment.id;
  const isLatest = order.payments.at(-1) === payment;
  const isPaid = order.status === "succeeded";
  const isSettledAbove = isPaid || order.status === "review";
  if (payment.status === "succeeded") {
    if (isPaid && !isOwn && !climbs) return false;
    if (isPaid && !isOwn) order.alsoPaid.push(payment.id);
  } else if (payment.status === "review") {
    if (isSettledAbove && !(order.status === "review" && isOwn)) return false;
  } else if (!isLatest || isSettledAbove) return false;
  order.version += 1;
  if (!isPaid) {
    order.status = payment.status;
    order.shown = payment.id;
  }
  return true;
}
