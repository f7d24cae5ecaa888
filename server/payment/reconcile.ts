/**
 * Asks providers for the outcome of payments that are due, so that a payment ends although its webhook never comes (G9).
 *
 * PostgreSQL holds the schedule and the pace (order/claim-due.ts), so any number of nodes share the due payments. No lock is held
 * while a provider is asked. The payments of a killed node fall due again. At its deadline a payment expires if its provider
 * answers "still open", knows no outcome, or has no way to be asked. While the provider is unreachable, or its pace allows no
 * query, the payment stays open, up to twice its time. A query never moves money, so a repeated one is harmless.
 */

import { createInFlight, type InFlight } from "../in-flight.ts";
import { type Loop, startLoop } from "../loop.ts";
import type { DuePayment, Outcome } from "../order/order.ts";
import type { Allowance } from "../order/schedule.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider } from "../provider/provider.ts";
import { Throttled } from "../provider/refusal.ts";
import { newTrace, withTrace } from "../trace.ts";
import { withPrompt } from "./initiate.ts";

export interface Reconciler {
  /**
   * Checks a payment that has just become due. Resolves with the provider's answer when it is stored. Resolves with undefined
   * when the answer has no outcome, when another node has claimed the payment, and when the pace allows no query. Never
   * rejects.
   */
  check(paymentId: string): Promise<Outcome | undefined>;
  /** Starts no further query; resolves when those in flight are answered and stored, or aborted after 10 s. */
  close(): Promise<void>;
}

export interface ReconcilerOptions {
  providers: ReadonlyMap<string, Provider>;
  /** When and how fast a provider is asked. */
  allowance: (provider: Provider) => Omit<Allowance, "provider" | "free">;
  store: Pick<OrderStore, "advance" | "claimDue" | "defer" | "endReceiptCheck" | "preparePace" | "slowQueries">;
  /** Called when a reference was stored, because webhooks that name it may be parked. */
  onReference: (provider: string, reference: string) => Promise<void>;
  /** Milliseconds between two claims of due payments, besides those that `check` requests; only tests set it. */
  intervalMs?: number;
  /** The limit of queries in flight from this node to one provider; only tests set it. */
  inFlightMax?: number;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const usualIntervalMs = 500;

/** 384, because that is fewer than the connections (provider/http-client.ts), so requests for money always find one. */
const usualInFlightMax = 384;

/** 25 s, because a query may need a fresh access token first (15 s) and has 10 s itself. */
const queryMsMax = 25_000;

/** The minimum for the query of an open payment, which otherwise ends when the payment's time does. */
const queryMsMin = 2_000;

/** `throttled`: the provider answered that the query rate is too high. `unasked`: the pace allowed no query. */
type Answer = Outcome | undefined | "unreachable" | "throttled" | "unasked";

/** A node's queries and the callers that wait for them. */
interface State {
  options: ReconcilerOptions;
  inFlightMax: number;
  inFlight: InFlight;
  /** The checks that run on this node, by payment. */
  checks: Map<string, Promise<Outcome | undefined>>;
  /** Queries in flight by provider. */
  queries: Map<string, number>;
  /** Providers whose last claim used up the queries that were free, so that more payments may be due. */
  saturated: Set<string>;
  /** Calls of `check` since the last claim, by payment. */
  requested: Map<string, PromiseWithResolvers<Outcome | undefined>>;
  isPacePrepared: boolean;
}

export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { log, intervalMs = usualIntervalMs, inFlightMax = usualInFlightMax } = options;
  const state: State = {
    options,
    inFlightMax,
    inFlight: createInFlight(),
    checks: new Map(),
    queries: new Map(),
    saturated: new Set(),
    requested: new Map(),
    isPacePrepared: false,
  };
  let isClosed = false;
  const loop: Loop = startLoop({
    task: () => claimAndCheck(state, loop.runNow),
    delayMs: () => intervalMs,
    onError: (err) => log.warn({ event: "payment.due.claim_failed", err }, "Could not claim due payments"),
    onRecovered: () => log.info({ event: "payment.due.claim_recovered" }, "Claimed due payments again"),
  });

  return {
    async check(paymentId) {
      if (isClosed) return undefined;
      const { requested } = state;
      const request = requested.get(paymentId) ?? Promise.withResolvers<Outcome | undefined>();
      requested.set(paymentId, request);
      loop.runNow();
      return request.promise;
    },
    async close() {
      isClosed = true;
      await loop.close();
      answerRequests(state, state.requested);
      await state.inFlight.close();
    },
  };
}

async function claimAndCheck(state: State, claimAgain: () => void): Promise<void> {
  const { store } = state.options;
  const { requested } = state;
  state.requested = new Map();
  try {
    const allowances = allowancesOf(state);
    await preparePace(state, allowances);
    const due = await store.claimDue(allowances);
    for (const payment of due) startCheck(state, payment, claimAgain);
    for (const { provider, free } of allowances) {
      const claimed = due.filter((payment) => payment.provider === provider).length;
      if (claimed >= free) state.saturated.add(provider);
      // Queries may have ended during the claim.
      claimAgainIfFree(state, provider, claimAgain);
    }
  } finally {
    answerRequests(state, requested);
  }
}

const allowancesOf = ({ options: { providers, allowance }, inFlightMax, queries }: State): Allowance[] =>
  [...providers.values()].map((provider) => ({
    ...allowance(provider),
    provider: provider.name,
    free: inFlightMax - (queries.get(provider.name) ?? 0),
  }));

async function preparePace(state: State, allowances: readonly Allowance[]): Promise<void> {
  if (state.isPacePrepared) return;
  const paced = allowances.filter(({ perMinute }) => perMinute !== undefined);
  await state.options.store.preparePace(paced.map(({ provider }) => provider));
  state.isPacePrepared = true;
}

function startCheck(state: State, payment: DuePayment, claimAgain: () => void): void {
  const { options, inFlight, checks, queries } = state;
  const { id, provider } = payment;
  queries.set(provider, (queries.get(provider) ?? 0) + 1);
  const check = withTrace(newTrace(), () => checkSafely(payment, options, inFlight));
  checks.set(id, check);
  const end = (): void => {
    queries.set(provider, (queries.get(provider) ?? 1) - 1);
    // The payment may have been claimed again in the meantime.
    if (checks.get(id) === check) checks.delete(id);
    claimAgainIfFree(state, provider, claimAgain);
  };
  void inFlight.track(check.then(end));
}

/** Claims again once half of the queries are free, because each claim is a statement. */
function claimAgainIfFree({ queries, inFlightMax, saturated }: State, provider: string, claimAgain: () => void): void {
  if ((queries.get(provider) ?? 0) <= inFlightMax / 2 && saturated.delete(provider)) claimAgain();
}

/** Resolves each request with the check of its payment, or with undefined when no check runs on this node. */
function answerRequests({ checks }: State, requested: State["requested"]): void {
  for (const [paymentId, { resolve }] of requested) resolve(checks.get(paymentId));
}

/** Queries one payment and stores the answer. Never rejects. */
async function checkSafely(
  payment: DuePayment,
  options: ReconcilerOptions,
  inFlight: InFlight,
): Promise<Outcome | undefined> {
  const { id: paymentId, orderId, provider } = payment;
  const { log } = options;
  try {
    const answer = await query(payment, options, inFlight);
    // Aborted by the shutdown: another node, or this one after its restart, checks the payment again.
    if (answer === "unreachable" && inFlight.isGraceOver) return undefined;
    await record(payment, answer, options);
    const outcome = typeof answer === "object" ? answer : undefined;
    const text = typeof answer === "object" ? answer.status : (answer ?? "nothing");
    log.info({ event: "payment.check.answered", paymentId, orderId, provider, answer: text }, "Checked a payment");
    return outcome;
  } catch (err) {
    log.warn({ event: "payment.check.failed", paymentId, provider, err }, "Could not check a payment; will retry");
    return undefined;
  }
}

async function query(
  payment: DuePayment,
  { providers, store, log }: ReconcilerOptions,
  inFlight: InFlight,
): Promise<Answer> {
  const provider = providers.get(payment.provider);
  if (!provider) return undefined; // The provider is not enabled on this node.
  if (!payment.mayAsk) return "unasked";
  const ms = isOpen(payment) ? Math.min(queryMsMax, Math.max(queryMsMin, payment.leftMs)) : queryMsMax;
  try {
    return await inFlight.withDeadline(ms, (signal) => provider.confirm(payment, signal));
  } catch (err) {
    log.warn(
      { event: "provider.confirm.failed", paymentId: payment.id, provider: payment.provider, err },
      "Could not query the provider",
    );
    if (!(err instanceof Throttled)) return "unreachable";
    await store.slowQueries(provider.name, err.retryAfterS);
    return "throttled";
  }
}

async function record(payment: DuePayment, answer: Answer, options: ReconcilerOptions): Promise<void> {
  const { store, onReference } = options;
  if (typeof answer === "object") {
    // The prompt is added because the reply that had it may be lost. The store keeps what it already has.
    await store.advance(payment.id, withPrompt(payment, answer));
    if (answer.reference !== undefined) await onReference(payment.provider, answer.reference);
  }
  const isDeferred = answer === "throttled" || answer === "unasked";
  if (isExpired(payment, answer)) {
    await store.advance(payment.id, { status: "expired", reason: "deadline", source: "clock" });
  } else if (payment.status === "succeeded" && answer !== "unreachable" && !isDeferred) {
    await store.endReceiptCheck(payment.id);
  }
  // Also after it expired: the deferred query is late, and still finds money that was paid in time.
  if (isDeferred) await store.defer(payment.id);
}

const isOpen = ({ status }: DuePayment): boolean => status === "pending" || status === "processing";

/**
 * Whether the payment expires after this answer. A failure waits for the second query that confirms it. A success and a
 * mismatch are recorded already, and their statuses are above `expired`.
 */
function isExpired(payment: DuePayment, answer: Answer): boolean {
  const { isOver, isLongOver } = payment;
  const isStillOpen = answer === undefined || (typeof answer === "object" && answer.status === "processing");
  return isOpen(payment) && isOver && (isStillOpen || isLongOver);
}
