/**
 * Asks providers what became of payments, so that every one ends although its webhook never comes.
 *
 * The schedule is in the database (order/due.ts): any number of nodes share the due payments, no lock
 * is held while a provider is asked, and what a killed node had taken falls due again. At its deadline a payment
 * expires by our clock if the provider said "still open", could not say, or cannot be asked; while the provider cannot
 * be reached it stays open, up to twice its time. A query never moves money, so asking once too often is harmless.
 */
import { type Loop, startLoop } from "../loop.ts";
import type { DuePayment, Outcome } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import { newTrace, withTrace } from "../trace.ts";
import { createUnderWay } from "../under-way.ts";
import { withPrompt } from "./initiate.ts";
import type { Provider } from "./provider.ts";

export interface Reconciler {
  /** Something may have become due just now. */
  nudge(): void;
  /** Stops asking; resolves when the questions under way are answered and that is stored, or given up after 10 s. */
  close(): Promise<void>;
}

export interface ReconcilerOptions {
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance" | "claimDue">;
  /** Hears of a reference that is stored now, of a provider whose webhooks may have come before. */
  onReference: (provider: string, reference: string) => Promise<void>;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const intervalMs = 500;

/** Questions under way on this node at most. */
const underWayMax = 50;

/** A query may need a fresh access token first (15 s), and then its own 10 s. */
const askMsMax = 25_000;

export function createReconciler({ providers, store, onReference, log }: ReconcilerOptions): Reconciler {
  const underWay = createUnderWay();

  const ask = async (payment: DuePayment): Promise<Outcome | undefined | "unreachable"> => {
    const provider = providers.get(payment.provider);
    if (!provider) return undefined; // No longer offered: there is nobody to ask.
    try {
      return await underWay.within(askMsMax, (signal) => provider.confirm(payment, signal));
    } catch (error) {
      log.warn({ paymentId: payment.id, provider: payment.provider, err: error }, "could not be asked");
      return "unreachable";
    }
  };

  const check = async (payment: DuePayment): Promise<void> => {
    const answer = await ask(payment);
    // Given up because this node stops: another one, or the next start, asks again.
    if (answer === "unreachable" && underWay.isOver) return;
    if (typeof answer === "object") {
      // The reply that would have told where the payer is asked may be lost. What is known already stays.
      await store.advance(payment.id, withPrompt(payment, answer));
      if (answer.reference !== undefined) await onReference(payment.provider, answer.reference);
    }
    if (isExpired(payment, answer)) {
      await store.advance(payment.id, { status: "expired", reason: "deadline", source: "clock" });
    }
    const taught = typeof answer === "object" ? answer.status : (answer ?? "nothing");
    const { id: paymentId, orderId, provider } = payment;
    log.info({ paymentId, orderId, provider, answer: taught }, "confirmed");
  };

  const checkSafely = (payment: DuePayment): Promise<void> =>
    check(payment).catch((error: unknown) => {
      log.warn({ paymentId: payment.id, provider: payment.provider, err: error }, "not confirmed; will be asked again");
    });

  const loop: Loop = startLoop({
    task: async () => {
      const free = underWayMax - underWay.size;
      if (free <= 0) return;
      const due = await store.claimDue(free);
      for (const payment of due) void underWay.add(withTrace(newTrace(), () => checkSafely(payment)));
      if (due.length === free) loop.nudge();
    },
    delayMs: () => intervalMs,
    onError: (error) => log.warn({ err: error }, "due payments could not be read"),
    onRecovered: () => log.info({}, "due payments can be read again"),
  });

  return {
    nudge: loop.nudge,
    async close() {
      await loop.close();
      await underWay.close();
    },
  };
}

/**
 * Whether our clock ends a payment after this answer. A failure that one query told of waits for the second; money
 * and mismatches have been recorded and are above any deadline.
 */
function isExpired({ status, isOver, isLongOver }: DuePayment, answer: Outcome | undefined | "unreachable"): boolean {
  const isOpen = status === "pending" || status === "processing";
  const saysOpen = answer === undefined || (typeof answer === "object" && answer.status === "processing");
  return isOpen && isOver && (saysOpen || isLongOver);
}
