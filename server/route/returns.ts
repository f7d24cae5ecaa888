/**
 * Where the payer's browser comes back to from a provider's page. What it says proves nothing: an approval only lets us
 * take the money, once, and a failure is believed after the provider was asked. The payer is then sent on to the shop
 * with the order's id and nothing secret; whatever happens, they never see an error of ours.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Outcome, Reason } from "../order/order.ts";
import type { UrlSecrets } from "../order/secret.ts";
import type { OrderStore, Returned } from "../order/store.ts";
import type { Checkout, Provider } from "../provider/provider.ts";
import type { UnderWay } from "../under-way.ts";
import { returnPage, returnPolicy } from "./return-page.ts";

export interface ReturnRoutesOptions {
  providers: ReadonlyMap<string, Provider>;
  secrets: UrlSecrets;
  store: Pick<OrderStore, "advance" | "comeBack">;
  /** What must be waited for when the node stops. */
  underWay: UnderWay;
  log: FastifyBaseLogger;
}

/** Taking the money may need a token (15 s), then 30 s, then a question (10 s). */
const completeMsMax = 60_000;
const askMsMax = 25_000;

/** The payer is sent on by then: the shop watches the order anyway. */
const patienceMs = 8_000;

interface CheckoutProvider extends Provider {
  checkout: Checkout;
}

const hasCheckout = (provider: Provider): provider is CheckoutProvider => provider.checkout !== undefined;

export function returnRoutes(app: FastifyInstance, options: ReturnRoutesOptions): void {
  const { providers, secrets, store, underWay, log } = options;
  const checkouts = [...providers.values()].filter(hasCheckout);
  const within = (ms: number): AbortSignal => AbortSignal.any([underWay.signal, AbortSignal.timeout(ms)]);

  const open = (secret: string): { provider: CheckoutProvider; paymentId: string } | undefined => {
    for (const provider of checkouts) {
      const paymentId = secrets.open(provider.name, secret);
      if (paymentId !== undefined) return { provider, paymentId };
    }
    return undefined;
  };

  /** Takes the money if this return may, or else asks; and believes the browser's "failed" if the money surely stays. */
  const learn = async (provider: CheckoutProvider, { payment, completes }: Returned, said: Said): Promise<void> => {
    const outcome = completes
      ? await provider.checkout.complete(payment, within(completeMsMax))
      : await provider.confirm(payment, within(askMsMax));
    log.info({ paymentId: payment.id, said, completes, status: outcome?.status }, "payer came back");
    if (outcome) await store.advance(payment.id, outcome);
    if (said !== undefined && said !== "approved" && outcome?.status === "processing") {
      await store.advance(payment.id, failure(said));
    }
  };

  const learnSafely = (provider: CheckoutProvider, returned: Returned, said: Said): Promise<void> =>
    underWay.add(
      learn(provider, returned, said).catch((error: unknown) =>
        log.warn({ paymentId: returned.payment.id, err: error }, "payer came back; not learnt"),
      ),
    );

  app.get<{ Params: { secret: string }; Querystring: Record<string, unknown> }>(
    "/return/:secret",
    async ({ params, query }, reply) => {
      const show = (status: number, page: Parameters<typeof returnPage>[0]) =>
        reply.code(status).type("text/html; charset=utf-8").send(returnPage(page));
      reply.headers({
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "content-security-policy": returnPolicy,
      });
      const opened = open(params.secret);
      const said = opened?.provider.checkout.read(query);
      const returned = opened && (await store.comeBack(opened.paymentId, said === "approved"));
      if (!opened || !returned) return show(404, "unknown");
      const isOpen = returned.status === "pending" || returned.status === "processing";
      if (isOpen) await orAfter(patienceMs, learnSafely(opened.provider, returned, said));
      const { returnUrl, orderId } = returned.payment;
      if (returnUrl === undefined) return show(200, "back");
      const onward = new URL(returnUrl);
      onward.searchParams.set("orderId", orderId);
      return reply.redirect(onward.href, 303);
    },
  );
}

type Said = "approved" | Reason | undefined;

const failure = (reason: Reason): Outcome => ({ status: "failed", reason, source: "payer" });

async function orAfter(ms: number, done: Promise<void>): Promise<void> {
  const gaveUp = new AbortController();
  await Promise.race([done, wait(ms, undefined, { signal: gaveUp.signal }).catch(() => undefined)]);
  gaveUp.abort();
}
