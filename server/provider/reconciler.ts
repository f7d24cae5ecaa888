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
import { newTrace, withTrace } from "../trace.ts";
import { createUnderWay } from "../under-way.ts";
import { withPrompt } from "./initiate.ts";
import type { Provider } from "./provider.ts";
import { Throttled } from "./refusal.ts";

export interface Reconciler {
  /**
   * Asks about a payment that has just become due. Resolves when the answer is stored, or when it turns out that nobody is
   * asked here now: another node has taken it, or the pace does not allow it. Never rejects.
   */
  ask(paymentId: string): Promise<void>;
  /** Stops asking; resolves when the questions under way are answered and that is stored, or given up after 10 s. */
  close(): Promise<void>;
}

export interface ReconcilerOptions {
  providers: ReadonlyMap<string, Provider>;
  /** When and how fast a provider is asked. */
  allowance: (provider: Provider) => Omit<Allowance, "provider" | "free">;
  store: Pick<OrderStore, "advance" | "claimDue" | "defer" | "checked" | "preparePace" | "slowQueries">;
  /** Hears of a reference that is stored now, of a provider whose webhooks may have come before. */
  onReference: (provider: string, reference: string) => Promise<void>;
  /** How often due payments are looked for, in milliseconds, beside when there is a reason to; another time in tests only. */
  intervalMs?: number;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const usualIntervalMs = 500;

/** Questions under way on this node to one provider at most: fewer than connections, so that requests for money find one. */
const inFlightMax = 100;

/** When so few of them are left, more are taken at once: not one by one, because each time is a statement. */
const inFlightMin = inFlightMax / 2;

/** A query may need a fresh access token first (15 s), and then its own 10 s. */
const askMsMax = 25_000;

type Answer = Outcome | undefined | "unreachable" | "throttled";

export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { providers, allowance, store, log, intervalMs = usualIntervalMs } = options;
  const underWay = createUnderWay();
  /** The checks that run here, by payment. */
  const checks = new Map<string, Promise<void>>();
  const inFlight = new Map<string, number>();
  /** Providers of which as many payments were taken as there was room for, so that more may be due. */
  const crowded = new Set<string>();
  let waiting = new Map<string, PromiseWithResolvers<void>>();
  let isPrepared = false;
  let isClosed = false;

  const allowances = (): Allowance[] =>
    [...providers.values()].map((provider) => ({
      ...allowance(provider),
      provider: provider.name,
      free: inFlightMax - (inFlight.get(provider.name) ?? 0),
    }));

  const preparePace = async (all: readonly Allowance[]): Promise<void> => {
    if (isPrepared) return;
    await store.preparePace(all.filter(({ perMinute }) => perMinute !== undefined).map(({ provider }) => provider));
    isPrepared = true;
  };

  const begin = (payment: DuePayment): void => {
    const { id, provider } = payment;
    inFlight.set(provider, (inFlight.get(provider) ?? 0) + 1);
    const ended = withTrace(newTrace(), () => checkSafely(payment)).then(() => {
      const left = (inFlight.get(provider) ?? 1) - 1;
      inFlight.set(provider, left);
      checks.delete(id);
      if (left <= inFlightMin && crowded.delete(provider)) loop.nudge();
    });
    checks.set(id, underWay.add(ended));
  };

  const check = async (payment: DuePayment): Promise<void> => {
    const answer = await askProvider(payment, options, underWay);
    // Given up because this node stops: another one, or the next start, asks again.
    if (answer === "unreachable" && underWay.isOver) return;
    await record(payment, answer, options);
    const taught = typeof answer === "object" ? answer.status : (answer ?? "nothing");
    const { id: paymentId, orderId, provider } = payment;
    log.info({ paymentId, orderId, provider, answer: taught }, "confirmed");
  };

  const checkSafely = (payment: DuePayment): Promise<void> =>
    check(payment).catch((error: unknown) => {
      log.warn({ paymentId: payment.id, provider: payment.provider, err: error }, "not confirmed; will be asked again");
    });

  /** Whoever waits for a payment waits for its check, if there is one here. */
  const answerWaiting = (asked: typeof waiting): void => {
    for (const [paymentId, { resolve }] of asked) void (checks.get(paymentId) ?? Promise.resolve()).then(resolve);
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
      if (isClosed) return;
      const asked = waiting.get(paymentId) ?? Promise.withResolvers<void>();
      waiting.set(paymentId, asked);
      loop.nudge();
      await asked.promise;
    },
    async close() {
      isClosed = true;
      await loop.close();
      answerWaiting(waiting);
      await underWay.close();
    },
  };
}

async function askProvider(
  payment: DuePayment,
  { providers, store, log }: ReconcilerOptions,
  underWay: ReturnType<typeof createUnderWay>,
): Promise<Answer> {
  const provider = providers.get(payment.provider);
  if (!provider) return undefined; // No longer offered: there is nobody to ask.
  if (!payment.mayAsk) return "throttled";
  try {
    return await underWay.within(askMsMax, (signal) => provider.confirm(payment, signal));
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
  const isAnswered = answer !== "unreachable" && answer !== "throttled";
  if (isExpired(payment, answer)) {
    await store.advance(payment.id, { status: "expired", reason: "deadline", source: "clock" });
  } else if (answer === "throttled") {
    await store.defer(payment.id);
  } else if (payment.status === "succeeded" && isAnswered) {
    await store.checked(payment.id);
  }
}

/**
 * Whether our clock ends a payment after this answer. A failure that one query told of waits for the second; money
 * and mismatches have been recorded and are above any deadline.
 */
function isExpired({ status, isOver, isLongOver }: DuePayment, answer: Answer): boolean {
  const isOpen = status === "pending" || status === "processing";
  const saysOpen = answer === undefined || (typeof answer === "object" && answer.status === "processing");
  return isOpen && isOver && (saysOpen || isLongOver);
}
