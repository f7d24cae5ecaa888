/**
 * Asks a provider about one payment because the merchant wants to know now, whatever the payment's status and schedule. The answer takes
 * the path of every query's: it is evidence for the decision, and a failure needs a second answer that confirms it. A query never moves
 * money, so that it may run beside the reconciler's, a webhook, or another one.
 *
 * A question takes its turn in the pace that all nodes share, and a payment is asked about six times in a minute at most.
 */
import { HubError } from "../errors.ts";
import type { InFlight } from "../in-flight.ts";
import type { Outcome } from "../order/order.ts";
import type { Allowance } from "../order/schedule.ts";
import type { AskedPayment, OrderStore } from "../order/store.ts";
import { merchantNameOf, type Provider } from "../provider/provider.ts";
import { Throttled } from "../provider/refusal.ts";
import { type Counter, limited } from "../rate-limit.ts";
import { withPrompt } from "./initiate.ts";

export interface Asked {
  orderUuid: string;
  /** What the provider said. Undefined: it knows no outcome. */
  answer: Outcome | undefined;
  /** The answer has changed the payment. */
  isChanged: boolean;
}

/**
 * Throws `payment_unknown`; `not_askable`, which says why; `rate_limited` with the seconds to wait; `provider_unavailable`; and
 * `store_unavailable`.
 */
export type Ask = (paymentId: string) => Promise<Asked>;

export interface AskOptions {
  providers: ReadonlyMap<string, Provider>;
  allowance: (provider: Provider) => Omit<Allowance, "provider" | "free">;
  store: Pick<OrderStore, "advance" | "findAsked" | "slowQueries" | "takeQuery">;
  counter: Counter;
  inFlight: InFlight;
  onReference: (provider: string, reference: string) => Promise<void>;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

/** Six, because a person who waits for an answer asks every ten seconds. */
const perMinuteMax = 6;

/** 25 s, because a query may need a fresh access token first (15 s) and has 10 s itself. */
const queryMs = 25_000;

export const createAsk = (options: AskOptions): Ask => {
  return async (paymentId) => {
    const payment = await options.store.findAsked(paymentId);
    if (!payment) throw new HubError("payment_unknown", "There is no such payment");
    const provider = askable(payment, options.providers);
    await takeTurn(payment, provider, options);
    const answer = await askProvider(payment, provider, options);
    const { orderUuid } = payment;
    if (!answer) return { orderUuid, answer, isChanged: false };
    const { result } = await options.store.advance(paymentId, withPrompt(payment, answer));
    if (answer.reference !== undefined) await options.onReference(payment.provider, answer.reference);
    return { orderUuid, answer, isChanged: result === "applied" };
  };
};

/** The provider of a payment that can be asked about. */
function askable({ provider: name, reference }: AskedPayment, providers: AskOptions["providers"]): Provider {
  const provider = providers.get(name);
  if (!provider) throw new HubError("not_askable", `The provider ${name} is not enabled on this node`);
  if (provider.needsReference && reference === undefined) {
    throw new HubError(
      "not_askable",
      `${merchantNameOf(name)} has not accepted the request for money, so there is nothing to ask about`,
    );
  }
  // Its end is masked when the payer's data is erased.
  if (reference?.includes("*")) throw new HubError("not_askable", "The provider's reference is erased");
  return provider;
}

async function takeTurn(
  { id }: AskedPayment,
  provider: Provider,
  { counter, store, allowance }: AskOptions,
): Promise<void> {
  const { current, remainingMs } = await counter.count(`ask ${id}`, 1, 60_000);
  if (current > perMinuteMax) throw limited("The provider was just asked about this payment", remainingMs);
  const { perMinute } = allowance(provider);
  const waitS = await store.takeQuery(provider.name, perMinute);
  if (waitS > 0) throw limited(`${merchantNameOf(provider.name)} is asked as often as its pace allows`, waitS * 1_000);
}

async function askProvider(
  payment: AskedPayment,
  provider: Provider,
  { inFlight, store, log }: AskOptions,
): Promise<Outcome | undefined> {
  const { id: paymentId, orderId, provider: name } = payment;
  try {
    const answer = await inFlight.withDeadline(queryMs, (signal) => provider.confirm(payment, signal));
    log.info(
      { event: "payment.ask.answered", paymentId, orderId, provider: name, answer: answer?.status ?? "nothing" },
      "Asked the provider about a payment",
    );
    return answer;
  } catch (err) {
    log.warn({ event: "provider.confirm.failed", paymentId, provider: name, err }, "Could not query the provider");
    if (err instanceof Throttled) {
      await store.slowQueries(name, err.retryAfterS);
      throw limited(`${merchantNameOf(name)} takes no more questions now`, (err.retryAfterS ?? 10) * 1_000);
    }
    throw new HubError("provider_unavailable", `${merchantNameOf(name)} does not answer; try again later`, {
      cause: err,
    });
  }
}
