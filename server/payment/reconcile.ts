/**
 * Asks providers what became of payments, so that every one ends although its webhook never comes.
 *
 * The schedule and the pace are in the database (order/due.ts): any number of nodes share the due payments, no lock is held
 * while a provider is asked, and what a killed node had taken falls due again. At its deadline a payment expires by our
 * clock if the provider said "still open", could not say, or cannot be asked; while the provider cannot be reached, or must
 * not be asked because of its pace, the payment stays open, up to twice its time. A query never moves money, so asking once
 * too often is harmless.
 */
import { type Loop, startLoop } from "../loop.ts";
import type { DuePayment, Outcome } from "../order/order.ts";
import type { Allowance } from "../order/schedule.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider } from "../provider/provider.ts";
import { Throttled } from "../provider/refusal.ts";
import { newTrace, withTrace } from "../trace.ts";
import { createInFlight } from "./in-flight.ts";
import { withPrompt } from "./initiate.ts";

export interface Reconciler {
  /**
   * Asks about a payment that has just become due. Resolves with the answer when it is stored, and with undefined when the
   * answer taught nothing or nobody is asked here now: another node has taken the payment, or the pace does not allow a
   * query. Never rejects.
   */
  ask(paymentId: string): Promise<Outcome | undefined>;
  /** Stops asking; resolves when the questions under way are answered and that is stored, or given up after 10 s. */
  close(): Promise<void>;
}

export interface ReconcilerOptions {
  providers: ReadonlyMap<string, Provider>;
  /** When and how fast a provider is asked. */
  allowance: (provider: Provider) => Omit<Allowance, "provider" | "free">;
  store: Pick<OrderStore, "advance" | "claimDue" | "defer" | "endReceiptCheck" | "preparePace" | "slowQueries">;
  /** Hears of a reference that is stored now, of a provider whose webhooks may have come before. */
  onReference: (provider: string, reference: string) => Promise<void>;
  /** How often due payments are looked for, in milliseconds, beside when there is a reason to; another time in tests only. */
  intervalMs?: number;
  /** Queries in flight from this node to one provider at most; another number in tests only. */
  inFlightMax?: number;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const usualIntervalMs = 500;

/** Queries in flight from this node to one provider at most: fewer than connections (provider/http-client.ts), so that requests for money find one. */
const usualInFlightMax = 384;

/** A query may need a fresh access token first (15 s), and then its own 10 s. */
const askMsMax = 25_000;

/** A query about an open payment ends when the payment is over for good, but has so much time at least. */
const askMsMin = 2_000;

/** `throttled`: the provider was asked too often. `unasked`: the pace allowed no query. */
type Answer = Outcome | undefined | "unreachable" | "throttled" | "unasked";

export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { providers, allowance, store, log, intervalMs = usualIntervalMs } = options;
  const { inFlightMax = usualInFlightMax } = options;
  const inFlight = createInFlight();
  /** The checks that run here, by payment. */
  const checks = new Map<string, Promise<Outcome | undefined>>();
  const queries = new Map<string, number>();
  /** Providers of which as many payments were taken as there was room for, so that more may be due. */
  const crowded = new Set<string>();
  let waiting = new Map<string, PromiseWithResolvers<Outcome | undefined>>();
  let isPrepared = false;
  let isClosed = false;

  const allowances = (): Allowance[] =>
    [...providers.values()].map((provider) => ({
      ...allowance(provider),
      provider: provider.name,
      free: inFlightMax - (queries.get(provider.name) ?? 0),
    }));

  const preparePace = async (all: readonly Allowance[]): Promise<void> => {
    if (isPrepared) return;
    await store.preparePace(all.filter(({ perMinute }) => perMinute !== undefined).map(({ provider }) => provider));
    isPrepared = true;
  };

  const begin = (payment: DuePayment): void => {
    const { id, provider } = payment;
    queries.set(provider, (queries.get(provider) ?? 0) + 1);
    const check = withTrace(newTrace(), () => checkSafely(payment, options, inFlight));
    checks.set(id, check);
    const end = (): void => {
      queries.set(provider, (queries.get(provider) ?? 1) - 1);
      // The payment may have been taken again meanwhile.
      if (checks.get(id) === check) checks.delete(id);
      takeMoreOf(provider);
    };
    void inFlight.add(check.then(end));
  };

  const takeMoreOf = (provider: string): void => {
    // Not one by one, because each time is a statement.
    if ((queries.get(provider) ?? 0) <= inFlightMax / 2 && crowded.delete(provider)) loop.runNow();
  };

  /** Resolves each request with the check of its payment, or with undefined where no check runs here. */
  const answerWaiting = (asked: typeof waiting): void => {
    for (const [paymentId, { resolve }] of asked) resolve(checks.get(paymentId));
  };

  const loop: Loop = startLoop({
    task: async () => {
      const asked = waiting;
      waiting = new Map();
      try {
        const all = allowances();
        await preparePace(all);
        const due = await store.claimDue(all);
        for (const payment of due) begin(payment);
        for (const { provider, free } of all) {
          const taken = due.filter((payment) => payment.provider === provider).length;
          if (taken >= free) crowded.add(provider);
          // Answers may have come while the payments were being taken.
          takeMoreOf(provider);
        }
      } finally {
        answerWaiting(asked);
      }
    },
    delayMs: () => intervalMs,
    onError: (error) => log.warn({ err: error }, "due payments could not be read"),
    onRecovered: () => log.info({}, "due payments can be read again"),
  });

  return {
    async ask(paymentId) {
      if (isClosed) return undefined;
      const asked = waiting.get(paymentId) ?? Promise.withResolvers<Outcome | undefined>();
      waiting.set(paymentId, asked);
      loop.runNow();
      return asked.promise;
    },
    async close() {
      isClosed = true;
      await loop.close();
      answerWaiting(waiting);
      await inFlight.close();
    },
  };
}

/** Asks about one payment and records the answer. Never rejects. */
async function checkSafely(
  payment: DuePayment,
  options: ReconcilerOptions,
  inFlight: ReturnType<typeof createInFlight>,
): Promise<Outcome | undefined> {
  const { id: paymentId, orderId, provider } = payment;
  const { log } = options;
  try {
    const answer = await askProvider(payment, options, inFlight);
    // Given up because this node stops: another one, or the next start, asks again.
    if (answer === "unreachable" && inFlight.isOver) return undefined;
    await record(payment, answer, options);
    const taught = typeof answer === "object" ? answer.status : (answer ?? "nothing");
    log.info({ paymentId, orderId, provider, answer: taught }, "confirmed");
    return typeof answer === "object" ? answer : undefined;
  } catch (error) {
    log.warn({ paymentId, provider, err: error }, "not confirmed; will be asked again");
    return undefined;
  }
}

async function askProvider(
  payment: DuePayment,
  { providers, store, log }: ReconcilerOptions,
  inFlight: ReturnType<typeof createInFlight>,
): Promise<Answer> {
  const provider = providers.get(payment.provider);
  if (!provider) return undefined; // This node no longer offers the provider.
  if (!payment.mayAsk) return "unasked";
  const ms = isOpen(payment) ? Math.min(askMsMax, Math.max(askMsMin, payment.leftMs)) : askMsMax;
  try {
    return await inFlight.within(ms, (signal) => provider.confirm(payment, signal));
  } catch (error) {
    log.warn({ paymentId: payment.id, provider: payment.provider, err: error }, "could not be asked");
    if (!(error instanceof Throttled)) return "unreachable";
    await store.slowQueries(provider.name, error.retryAfterS);
    return "throttled";
  }
}

async function record(payment: DuePayment, answer: Answer, options: ReconcilerOptions): Promise<void> {
  const { store, onReference } = options;
  if (typeof answer === "object") {
    // The reply that would have told where the payer is asked may be lost. What is known already stays.
    await store.advance(payment.id, withPrompt(payment, answer));
    if (answer.reference !== undefined) await onReference(payment.provider, answer.reference);
  }
  const isDeferred = answer === "throttled" || answer === "unasked";
  if (isExpired(payment, answer)) {
    await store.advance(payment.id, { status: "expired", reason: "deadline", source: "clock" });
  } else if (payment.status === "succeeded" && answer !== "unreachable" && !isDeferred) {
    await store.endReceiptCheck(payment.id);
  }
  // Also when it has expired: the query is late, and finds money that came in time.
  if (isDeferred) await store.defer(payment.id);
}

const isOpen = ({ status }: DuePayment): boolean => status === "pending" || status === "processing";

/**
 * Whether our clock ends a payment after this answer. A failure that one query told of waits for the second; money
 * and mismatches have been recorded and are above any deadline.
 */
function isExpired(payment: DuePayment, answer: Answer): boolean {
  const { isOver, isLongOver } = payment;
  const saysOpen = answer === undefined || (typeof answer === "object" && answer.status === "processing");
  return isOpen(payment) && isOver && (saysOpen || isLongOver);
}
