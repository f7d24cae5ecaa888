/**
 * Whether a webhook that its payment's budget turns away decides the payment all the same: somebody may have used the budget
 * up before the first true word about the money, and some providers send that once.
 *
 * The database says so, once a second for each payment. What contradicts what was agreed is known without it after the first
 * time, for that never changes: so no flood of forgeries takes the true one's turn. Those that state no amount have a turn of
 * their own. Per node.
 */
import type { Outcome } from "../order/order.ts";
import type { AgreedTerms, OrderStore, SuccessAssessment } from "../order/store.ts";

/** `later`: not weighed, because another one was within this second. */
export type Verdict = "decisive" | "idle" | "later";

export interface Appeals {
  /** Throws `store_unavailable`. */
  hear(paymentId: string, outcome: Outcome): Promise<Verdict>;
  /** Surely not decisive, as far as is known here. */
  isContradicted(paymentId: string, outcome: Outcome): boolean;
}

const everyMs = 1_000;

/** Forgets the payment that was heard of least recently when there are more than this. */
const paymentsMax = 10_000;

/** Remembered of one payment: whoever floods its address has few payments of their own. */
const usedReceiptsMax = 64;

interface Heard {
  /** Undefined in the end when there is no such payment. */
  agreed?: Promise<AgreedTerms | undefined>;
  known?: AgreedTerms;
  /** Receipts of other payments, which none of this one's can have. */
  usedReceipts: Set<string>;
  /** When one was weighed that states an amount, and one that does not. */
  weighedAtMs: { stated: number; bare: number };
}

/** `nowMs` is any clock that only moves forward. */
export function createAppeals(
  store: Pick<OrderStore, "assessSuccess">,
  nowMs: () => number = () => performance.now(),
): Appeals {
  const payments = new Map<string, Heard>();

  const heardOf = (paymentId: string): Heard => {
    const never = Number.NEGATIVE_INFINITY;
    const heard = payments.get(paymentId) ?? {
      usedReceipts: new Set<string>(),
      weighedAtMs: { stated: never, bare: never },
    };
    payments.delete(paymentId);
    payments.set(paymentId, heard);
    const [oldest] = payments.keys();
    if (oldest !== undefined && payments.size > paymentsMax) payments.delete(oldest);
    return heard;
  };

  const weigh = async (heard: Heard, paymentId: string, outcome: Outcome): Promise<SuccessAssessment | undefined> => {
    const weighed = await store.assessSuccess(paymentId, outcome);
    if (weighed) heard.known = weighed;
    const { receipt } = outcome;
    if (weighed?.isReceiptUsed && receipt !== undefined && heard.usedReceipts.size < usedReceiptsMax) {
      heard.usedReceipts.add(receipt);
    }
    return weighed;
  };

  /** Read once, by however many at once, and with nothing of theirs. */
  const agreedOf = (heard: Heard, paymentId: string): Promise<AgreedTerms | undefined> => {
    heard.agreed ??= weigh(heard, paymentId, { status: "succeeded", source: "webhook" }).catch((error: unknown) => {
      delete heard.agreed;
      throw error;
    });
    return heard.agreed;
  };

  const isContradicted = (paymentId: string, outcome: Outcome): boolean => {
    const { reason, amountMinor, currency, reference, receipt } = outcome;
    const heard = payments.get(paymentId);
    const agreed = heard?.known;
    const differs = <T>(told: T | undefined, known: T | undefined) =>
      told !== undefined && known !== undefined && told !== known;
    return (
      // Of a success: what it states cannot be read.
      reason !== undefined ||
      differs(amountMinor, agreed?.amountMinor) ||
      differs(currency, agreed?.currency) ||
      differs(reference, agreed?.reference) ||
      (receipt !== undefined && heard?.usedReceipts.has(receipt) === true)
    );
  };

  return {
    isContradicted,
    async hear(paymentId, outcome) {
      const heard = heardOf(paymentId);
      const agreed = await agreedOf(heard, paymentId);
      if (!agreed || isContradicted(paymentId, outcome)) return "idle";
      const turn = outcome.amountMinor === undefined ? "bare" : "stated";
      if (nowMs() < heard.weighedAtMs[turn] + everyMs) return "later";
      heard.weighedAtMs[turn] = nowMs();
      return (await weigh(heard, paymentId, outcome))?.isDecisive ? "decisive" : "idle";
    },
  };
}
