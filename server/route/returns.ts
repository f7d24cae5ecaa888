/**
 * The return route: the payer's browser comes here from the provider's page. The node settles the payment
 * (payment/complete.ts) and redirects the payer to the shop, with the order's id and nothing secret. The payer never sees a
 * problem document: when the payment cannot be looked up or completed yet, a page reloads until it can. Any number of browsers
 * may return at once, on any nodes.
 */
import { randomBytes } from "node:crypto";
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { UrlSecrets } from "../auth/keys.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { languageOf } from "../http/accept.ts";
import { type InFlight, waitAtMost } from "../in-flight.ts";
import type { Outcome, Payment, StatusEvent } from "../order/order.ts";
import type { OrderQuery } from "../order/query.ts";
import type { OrderStore } from "../order/store.ts";
import {
  type CheckoutProvider,
  type CompletionOptions,
  isReadyToComplete,
  type ReturnClaim,
  settleReturn,
} from "../payment/complete.ts";
import type { Provider } from "../provider/provider.ts";
import { described, openedBy } from "../schema/route.ts";
import { createMinuteBudget } from "../webhook/minute-budget.ts";
import { type PageView, type ReturnPage, returnPage, returnPolicy } from "./return-page.ts";

export interface ReturnRoutesOptions {
  providers: ReadonlyMap<string, Provider>;
  secrets: UrlSecrets;
  store: Pick<OrderStore, "advance" | "recordReturn" | "clearCompletionLock" | "checkNow" | "slowQueries">;
  query: Pick<OrderQuery, "findByPayment">;
  tokens: Pick<WatchTokens, "issue">;
  /** Whether this node must complete no payment now; the nodes that serve may accept a secret that it does not. */
  isBlocked: () => boolean;
  /** Checks a due payment within the provider's pace; resolves with the outcome that was stored. */
  check: (paymentId: string) => Promise<Outcome | undefined>;
  /** The page on which a payment was started, if that was the page of a payment link. */
  pageOf?: (paymentId: string) => Promise<URL | undefined>;
  /** A shutdown waits for these. */
  inFlight: InFlight;
  log: FastifyBaseLogger;
}

/** Per payment and node, for returns that do not report a failure: bounds the queries that one payer can cause (G12). */
const checksPerMinuteMax = 30;

/** 8 s, because the payer watches a blank page meanwhile, and the shop watches the order anyway. */
const redirectMsMax = 8_000;

const hasCheckout = (provider: Provider): provider is CheckoutProvider => provider.checkout !== undefined;

type SettleOptions = CompletionOptions & Pick<ReturnRoutesOptions, "store" | "query" | "tokens" | "pageOf" | "log">;

interface Call {
  Params: { secret: string };
  Querystring: Record<string, unknown>;
}

export function returnRoutes(app: FastifyInstance, options: ReturnRoutesOptions): void {
  const { providers, secrets, isBlocked } = options;
  const checkouts = [...providers.values()].filter(hasCheckout);
  const settling: SettleOptions = { ...options, isCheckWithin: createMinuteBudget(checksPerMinuteMax) };

  const handler = async (request: FastifyRequest<Call>, reply: FastifyReply): Promise<FastifyReply> => {
    const { params, query } = request;
    reply.headers({ "cache-control": "no-store", "referrer-policy": "no-referrer" });
    const payment = isBlocked() ? undefined : openSecret(checkouts, secrets, params.secret);
    const otherwise: Next = { name: isBlocked() ? "wait" : "unknown" };
    const next: Next = payment ? await handleSafely(payment, query, settling) : otherwise;
    if (next instanceof URL) return reply.redirect(next.href, 303);
    return sendReturnPage(request, reply, next);
  };
  // A HEAD request must not move money.
  app.get<Call>("/return/:secret", { exposeHeadRoute: false, ...recordReturn }, handler);
  // A provider's page may add a slash before the query, and the payer must arrive all the same.
  app.get<Call>("/return/:secret/", { exposeHeadRoute: false }, handler);
}

/** The address to redirect to, or the page to show. */
type Next = URL | ReturnPage;

const pageStatus: Record<ReturnPage["name"], number> = { order: 200, unknown: 404, wait: 503 };

function sendReturnPage(request: FastifyRequest<Call>, reply: FastifyReply, page: ReturnPage): FastifyReply {
  const { headers, host, url } = request;
  const nonce = randomBytes(16).toString("base64");
  const root = /^[^?]*\/(\?|$)/.test(url) ? "../.." : "..";
  const chosen = page.name === "order" ? page.lang : undefined;
  const view: PageView = { language: chosen ?? languageOf(headers["accept-language"]), root, nonce };
  return reply
    .code(pageStatus[page.name])
    .header("content-security-policy", returnPolicy(page, { nonce, host }))
    .type("text/html; charset=utf-8")
    .send(returnPage(page, view));
}

interface ReturnAddress {
  provider: CheckoutProvider;
  paymentId: string;
}

/** The payment to which the URL's secret belongs. */
function openSecret(
  checkouts: readonly CheckoutProvider[],
  secrets: UrlSecrets,
  secret: string,
): ReturnAddress | undefined {
  for (const provider of checkouts) {
    const paymentId = secrets.open(provider.name, secret);
    if (paymentId !== undefined) return { provider, paymentId };
  }
  return undefined;
}

/** Never rejects: after an error the page reloads, which tries again. */
async function handleSafely(
  address: ReturnAddress,
  query: Record<string, unknown>,
  options: SettleOptions,
): Promise<Next> {
  try {
    return await handleReturn(address, address.provider.checkout.read(query), options);
  } catch (err) {
    const { paymentId } = address;
    options.log.error(
      { event: "payment.return.lookup_failed", paymentId, err },
      "Could not look up the payment of a returned payer",
    );
    return { name: "wait" };
  }
}

/** Settles the payment as far as it can be now. */
async function handleReturn(
  { provider, paymentId }: ReturnAddress,
  claim: ReturnClaim,
  options: SettleOptions,
): Promise<Next> {
  const completes = claim === "approved" && (await isReadyToComplete(provider, options));
  const returned = await options.store.recordReturn(paymentId, completes);
  if (!returned) return { name: "unknown" };
  const { status, payment } = returned;
  const onward = onwardOf(payment) ?? (await options.pageOf?.(paymentId));
  if (status === "pending" || status === "processing") {
    // An approval of a pending payment means that the provider's reply with the page's address is about to be stored.
    if (claim === "approved" && (!completes || status === "pending")) return { name: "wait", onward };
    await waitAtMost(redirectMsMax, settleReturn(provider, returned, claim, options));
  }
  return onward ?? orderPage(paymentId, options);
}

/** The shop's page, with the order's id. */
function onwardOf({ returnUrl, orderId }: Payment): URL | undefined {
  if (returnUrl === undefined) return undefined;
  const onward = new URL(returnUrl);
  onward.searchParams.set("orderId", orderId);
  return onward;
}

/** A day, like a watch token: the payer has the page open, or reloads it soon. */
const watchableMs = 86_400_000;

/** A page with a watch token for the payer who returns now, and a static one for everyone who opens the URL later. */
async function orderPage(paymentId: string, { query, tokens }: SettleOptions): Promise<ReturnPage> {
  const found = await query.findByPayment(paymentId);
  if (!found) return { name: "unknown" };
  const { order, lang } = found;
  if (!isWatchable(order, paymentId)) return { name: "order", order, lang };
  return { name: "order", order, lang, watchToken: tokens.issue(order).watchToken };
}

/**
 * Whether the return URL of this payment opens its order: while it is open, and at most a day after it settled. The provider knows the
 * URL too, and a token shows the results, such as voucher codes (G11). The deadline counts as well, because later results change the
 * order, and because an erased `returnUrl` looks like one that was never given.
 */
function isWatchable({ payment, settled, occurredAt }: StatusEvent, paymentId: string): boolean {
  const times = [payment.expiresAt, ...(settled ? [occurredAt] : [])].map((time) => Date.parse(time));
  return payment.id === paymentId && Date.now() - Math.min(...times) <= watchableMs;
}

const recordReturn = described({
  operationId: "recordReturn",
  tag: "Pages for payers",
  summary: "The payer returns from the provider's page",
  description:
    "Completes the payment once, then redirects the payer to its `returnUrl`. The query that the provider's page adds proves nothing.",
  security: openedBy.everyone,
  answers: {
    200: {
      description:
        "An HTML page that shows the order, because the payment has no `returnUrl`. It follows the order until a day after the payment ended.",
      type: "text/html",
    },
    303: {
      description: "Redirects to the merchant's page.",
      headers: {
        Location: {
          type: "string",
          format: "uri",
          description: "The payment's `returnUrl` with `orderId`, and nothing secret.",
        },
      },
    },
    404: { description: "An HTML page, because the URL belongs to no payment.", type: "text/html" },
    503: { description: "An HTML page that reloads until the payment can be looked up.", type: "text/html" },
  },
  problems: ["rate_limited", "internal"],
});
