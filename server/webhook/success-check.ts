/**
 * Checks over-budget successes: whether a success that its payment's budget would refuse decides the payment. Forged webhooks
 * may have used up the budget before the first true success, which some providers send only once.
 *
 * PostgreSQL assesses one success per payment and second. A success without an amount has a turn of its own. A success that
 * contradicts the payment's terms takes no turn: the terms never change, so this node knows them after the first look. A flood
 * of such forgeries therefore does not delay the true success. The state is per node, and a restart forgets it.
 */
import type { Outcome } from "../order/order.ts";
import type { AgreedTerms, OrderStore, SuccessAssessment } from "../order/store.ts";

/** `try_later`: not assessed, because PostgreSQL assessed another success of the payment within this second. */
export type SuccessCheckResult = "decisive" | "not_decisive" | "try_later";

export interface SuccessChecks {
  /** Throws `store_unavailable`. */
  check(paymentId: string, success: Outcome): Promise<SuccessCheckResult>;
  /** Whether the success contradicts what this node knows of the payment. Reads no database. */
  isContradicted(paymentId: string, success: Outcome): boolean;
}

const intervalMs = 1_000;

/** Forgets the payment that was used least recently when there are more than this. */
const paymentsMax = 10_000;

/** Per payment. 64, because an attacker has few other payments to take receipts from. */
const usedReceiptsMax = 64;

interface KnownPayment {
  /** The first look at the terms, shared by all that need it. Resolves with undefined when there is no such payment. */
  firstLook?: Promise<AgreedTerms | undefined>;
  /** As the last assessment had them. */
  terms?: AgreedTerms;
  /** Receipts of other payments, which this payment cannot have. */
  usedReceipts: Set<string>;
  /** When a success with an amount, and one without, was last assessed. */
  assessedAtMs: { withAmount: number; withoutAmount: number };
}

interface State {
  store: Pick<OrderStore, "assessSuccess">;
  payments: Map<string, KnownPayment>;
}

/** `nowMs` is any clock that only moves forward. */
export function createSuccessChecks(
  store: Pick<OrderStore, "assessSuccess">,
  nowMs: () => number = () => performance.now(),
): SuccessChecks {
  const state: State = { store, payments: new Map() };
  return {
    isContradicted: (paymentId, success) => isContradicted(state.payments.get(paymentId), success),
    async check(paymentId, success) {
      const payment = knownPayment(state, paymentId);
      const terms = await termsOf(state, payment, paymentId);
      if (!terms || isContradicted(payment, success)) return "not_decisive";
      const turn = success.amountMinor === undefined ? "withoutAmount" : "withAmount";
      if (nowMs() < payment.assessedAtMs[turn] + intervalMs) return "try_later";
      payment.assessedAtMs[turn] = nowMs();
      return (await assess(state, payment, paymentId, success))?.isDecisive ? "decisive" : "not_decisive";
    },
  };
}

function knownPayment({ payments }: State, paymentId: string): KnownPayment {
  const never = Number.NEGATIVE_INFINITY;
  const payment = payments.get(paymentId) ?? {
    usedReceipts: new Set<string>(),
    assessedAtMs: { withAmount: never, withoutAmount: never },
  };
  // A map keeps the order of insertion, so this moves the payment to the end.
  payments.delete(paymentId);
  payments.set(paymentId, payment);
  const [oldest] = payments.keys();
  if (oldest !== undefined && payments.size > paymentsMax) payments.delete(oldest);
  return payment;
}

/** Reads the terms once for all concurrent callers. Passes none of a caller's evidence, whose bytes could fail the statement. */
function termsOf(state: State, payment: KnownPayment, paymentId: string): Promise<AgreedTerms | undefined> {
  const bare: Outcome = { status: "succeeded", source: "webhook" };
  payment.firstLook ??= assess(state, payment, paymentId, bare).catch((error: unknown) => {
    delete payment.firstLook;
    throw error;
  });
  return payment.firstLook;
}

async function assess(
  { store }: State,
  payment: KnownPayment,
  paymentId: string,
  success: Outcome,
): Promise<SuccessAssessment | undefined> {
  const assessment = await store.assessSuccess(paymentId, success);
  if (assessment) payment.terms = assessment;
  const { receipt } = success;
  if (assessment?.isReceiptUsed && receipt !== undefined && payment.usedReceipts.size < usedReceiptsMax) {
    payment.usedReceipts.add(receipt);
  }
  return assessment;
}

function isContradicted(payment: KnownPayment | undefined, success: Outcome): boolean {
  const { reason, amountMinor, currency, reference, receipt } = success;
  const terms = payment?.terms;
  return (
    // A success has a reason when its amount cannot be read.
    reason !== undefined ||
    differs(amountMinor, terms?.amountMinor) ||
    differs(currency, terms?.currency) ||
    differs(reference, terms?.reference) ||
    (receipt !== undefined && payment?.usedReceipts.has(receipt) === true)
  );
}

const differs = <T>(claimed: T | undefined, agreed: T | undefined): boolean =>
  claimed !== undefined && agreed !== undefined && claimed !== agreed;
