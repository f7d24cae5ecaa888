/**
 * Where the payer's browser comes back to from a provider's page. What it says proves nothing: an approval only lets us
 * take the money, once, and a failure is believed after the provider was asked. The payer is then sent on to the shop
 * with the order's id and nothing secret; whatever happens, they never see an error of ours.
 *
 * Any number of browsers may come back at once, on any nodes: the store lets one of them complete the payment, ever. That
 * permission is used up by a crash too, so it is taken only once nothing is missing any more, such as an access token;
 * until then the payer is asked to stay, and the page comes back by itself.
 */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { UrlSecrets } from "../auth/keys.ts";
import type { Outcome, Payment, Reason } from "../order/order.ts";
import type { OrderStore, Returned } from "../order/store.ts";
import { type InFlight, orAfter } from "../payment/in-flight.ts";
import type { Checkout, Provider } from "../provider/provider.ts";
import { Throttled } from "../provider/refusal.ts";
import { described, openedBy } from "../schema/route.ts";
import { createBudget } from "../webhook/inbox.ts";
import { type PageName, returnPage, returnPolicy } from "./return-page.ts";

export interface ReturnRoutesOptions {
  providers: ReadonlyMap<string, Provider>;
  secrets: UrlSecrets;
  store: Pick<OrderStore, "advance" | "recordReturn" | "clearCompletionLock" | "checkNow" | "slowQueries">;
  /** Asks about a payment that is due, within the provider's pace; resolves with what is recorded. */
  ask: (paymentId: string) => Promise<Outcome | undefined>;
  /** What must be waited for when the node stops. */
  inFlight: InFlight;
  log: FastifyBaseLogger;
}

/**
 * Taking the money may need 30 s, another token (15 s), then a question (10 s). No more than the minute in which the store
 * lets neither clock nor payer end a payment that is being completed.
 */
const completeMsMax = 60_000;

/** About one payment, because its payer came back and did not say that it has failed, which would end it; on this node. */
const questionsPerMinuteMax = 30;

/** How often the provider is asked at most about a payment whose payer came back and said that it has failed. */
const failureTriesMax = 3;

/** The payer is sent on by then: the shop watches the order anyway. */
const patienceMs = 8_000;

interface CheckoutProvider extends Provider {
  checkout: Checkout;
}

const hasCheckout = (provider: Provider): provider is CheckoutProvider => provider.checkout !== undefined;

export function returnRoutes(app: FastifyInstance, options: ReturnRoutesOptions): void {
  const { providers, secrets, store, ask, inFlight, log } = options;
  const checkouts = [...providers.values()].filter(hasCheckout);

  const open = (secret: string): { provider: CheckoutProvider; paymentId: string } | undefined => {
    for (const provider of checkouts) {
      const paymentId = secrets.open(provider.name, secret);
      if (paymentId !== undefined) return { provider, paymentId };
    }
    return undefined;
  };

  /** Takes the money if this return may, or else asks; and believes the browser's "failed" if the money surely stays. */
  const learn = async (provider: CheckoutProvider, { payment, completes }: Returned, said: Said): Promise<void> => {
    const outcome = completes ? await complete(provider, payment) : await askNow(payment.id, said);
    log.info({ paymentId: payment.id, said, completes, status: outcome?.status }, "payer came back");
    // Nothing was taken after all, as when the payer had not agreed: they may still say so.
    if (completes && outcome?.status === "processing") await store.clearCompletionLock(payment.id);
    if (said !== undefined && said !== "approved" && outcome?.status === "processing") {
      await store.advance(payment.id, failure(said));
    }
  };

  const complete = async (provider: CheckoutProvider, payment: Payment): Promise<Outcome | undefined> => {
    try {
      const taking = (signal: AbortSignal) => provider.checkout.complete(payment, signal);
      const outcome = await inFlight.within(completeMsMax, taking);
      if (outcome) await store.advance(payment.id, outcome);
      return outcome;
    } catch (error) {
      if (error instanceof Throttled) await store.slowQueries(provider.name, error.retryAfterS);
      throw error;
    }
  };

  /** Who comes back again and again takes no more of the provider's queries than that. */
  const mayAsk = createBudget(questionsPerMinuteMax, () => performance.now());

  const askNow = async (paymentId: string, said: Said): Promise<Outcome | undefined> => {
    const isFailure = said !== undefined && said !== "approved";
    // The payer says only once that it failed, and the schedule, here or on another node, may claim the question first.
    for (let tries = 0; tries < (isFailure ? failureTriesMax : 1); tries += 1) {
      const isFree = isFailure && tries === 0;
      if (!isFree && !mayAsk(paymentId)) return undefined;
      await store.checkNow(paymentId);
      const outcome = await ask(paymentId);
      if (outcome) return outcome;
    }
    return undefined;
  };

  const learnSafely = (provider: CheckoutProvider, returned: Returned, said: Said): Promise<void> =>
    inFlight.add(
      learn(provider, returned, said).catch((error: unknown) =>
        log.warn({ paymentId: returned.payment.id, err: error }, "payer came back; not learnt"),
      ),
    );

  /** Whether nothing is missing any more to take the money at once. */
  const isReady = async (provider: CheckoutProvider): Promise<boolean> => {
    try {
      await provider.prepare?.();
      return !inFlight.isOver;
    } catch (error) {
      log.warn({ provider: provider.name, err: error }, "payer came back; not ready to complete");
      return false;
    }
  };

  /** The page that stays until the payment can be looked up and, if it is approved, completed; or else where to go on to. */
  const welcome = async (provider: CheckoutProvider, paymentId: string, said: Said): Promise<PageName | URL> => {
    const completes = said === "approved" && (await isReady(provider));
    const returned = await store.recordReturn(paymentId, completes);
    if (!returned) return "unknown";
    if (returned.status === "pending" || returned.status === "processing") {
      // Nobody can agree before we know that there is a page: the provider's answer is about to be stored.
      if (said === "approved" && (!completes || returned.status === "pending")) return "wait";
      await orAfter(patienceMs, learnSafely(provider, returned, said));
    }
    const { returnUrl, orderId } = returned.payment;
    if (returnUrl === undefined) return "back";
    const onward = new URL(returnUrl);
    onward.searchParams.set("orderId", orderId);
    return onward;
  };

  app.get<{ Params: { secret: string }; Querystring: Record<string, unknown> }>(
    "/return/:secret",
    // A request that only asks for headers moves no money.
    { exposeHeadRoute: false, ...recordReturn },
    async ({ params, query }, reply) => {
      reply.headers({
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "content-security-policy": returnPolicy,
      });
      const opened = open(params.secret);
      const next = opened ? await welcomeSafely(opened, query) : "unknown";
      if (next instanceof URL) return reply.redirect(next.href, 303);
      return reply.code(pageStatus[next]).type("text/html; charset=utf-8").send(returnPage(next));
    },
  );

  const welcomeSafely = async (
    { provider, paymentId }: { provider: CheckoutProvider; paymentId: string },
    query: Record<string, unknown>,
  ): Promise<PageName | URL> => {
    try {
      return await welcome(provider, paymentId, provider.checkout.read(query));
    } catch (error) {
      log.error({ paymentId, err: error }, "payer came back; not looked up");
      return "wait";
    }
  };
}

const recordReturn = described({
  operationId: "recordReturn",
  tag: "Return address",
  summary: "The payer comes back from the provider's page",
  description:
    "Completes the payment once, then sends the payer on to its `returnUrl`. What the provider's page adds to the query proves nothing.",
  security: openedBy.anybody,
  answers: {
    200: { description: "The payment has no `returnUrl`: a page that says so.", type: "text/html" },
    303: {
      description: "On to the merchant's page.",
      headers: {
        Location: {
          type: "string",
          format: "uri",
          description: "The payment's `returnUrl` with `orderId`, and nothing secret.",
        },
      },
    },
    404: { description: "The address belongs to no payment: a page that says so.", type: "text/html" },
    503: { description: "It cannot be looked up now: a page that tries again by itself.", type: "text/html" },
  },
  problems: ["rate_limited", "internal"],
});

const pageStatus: Record<PageName, number> = { back: 200, unknown: 404, wait: 503 };

type Said = "approved" | Reason | undefined;

const failure = (reason: Reason): Outcome => ({ status: "failed", reason, source: "payer" });
