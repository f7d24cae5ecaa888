/** Makes the view of a link's page from its state. Only the browser that started a payment sees the phone's prompt and may watch the order. */
import type { Sealer } from "../auth/keys.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { type Language, maskPhone, type StatusEvent } from "../order/order.ts";
import type { ShopView } from "../page/shop.ts";
import type { Terms } from "../provider/enabled.ts";
import type { Provider } from "../provider/provider.ts";
import { operatorOf } from "./operator.ts";
import type { PageState } from "./page-state.ts";
import type { CheckoutView, Fault, PaymentLinkView, ProviderChoice } from "./page-view.ts";
import type { LinkPlan, PageLinkRow } from "./read.ts";
import { openToken } from "./token.ts";

export interface ContentOptions {
  sealer: Sealer;
  shop: ShopView;
  tokens: Pick<WatchTokens, "issue">;
  terms: (provider: string) => Pick<Terms, "live">;
}

export interface ContentRequest {
  token: string;
  lang: Language;
  /** The language of the page's address, if it has one. */
  chosenLang?: Language | undefined;
  isAgain: boolean;
  nonce: string;
  fault?: Fault | undefined;
}

export function contentOf(
  state: PageState,
  { token, lang, chosenLang, isAgain, nonce, fault }: ContentRequest,
  { shop, tokens, terms, sealer }: ContentOptions,
): CheckoutView {
  const { link, order, providers, canPay } = state;
  const event = order && (order.isOwn ? order.event : ofOtherPayer(order.event));
  const isOpen = link.current_status === "open";
  const planPath = link.plan && planPathOf(link.plan, sealer, chosenLang);
  return {
    shop,
    lang,
    paymentLink: linkView(link),
    providers: providers.map((provider) => choiceOf(provider, state, terms)),
    canPay,
    isAgain,
    formKey: state.formKey,
    actionPath: pathOf(token, { lang: chosenLang, isAgain }),
    nonce,
    ...(event && { order: event }),
    ...(order?.isOwn && { watch: { orderId: order.event.orderId, token: tokens.issue(order.event).watchToken } }),
    ...(order?.phone !== undefined && {
      maskedPhone: order.phone.startsWith("+") ? maskPhone(order.phone) : order.phone,
    }),
    // The page shows it once the order is paid, also without another load.
    ...(link.is_reusable && isOpen && event && { againPath: pathOf(token, { lang: chosenLang, isAgain: true }) }),
    ...(planPath && { planPath }),
    ...(link.return_url !== null && { returnUrl: link.return_url }),
    ...(event?.status === "succeeded" && { receiptOrderId: event.orderId }),
    ...(fault && { fault }),
  };
}

/** Relative to the page, because a proxy may serve the node below a path. */
export function pathOf(token: string, { lang, isAgain }: { lang?: Language | undefined; isAgain?: boolean }): string {
  const search = [...(lang ? [`lang=${lang}`] : []), ...(isAgain ? ["again"] : [])].join("&");
  return search === "" ? token : `${token}?${search}`;
}

/** Without what is about another payer: the reason of a failure, the phone, the money that arrived, the receipt and the results. */
function ofOtherPayer({ reason: _reason, results: _results, alsoPaid: _alsoPaid, ...event }: StatusEvent): StatusEvent {
  const { action: _action, receipt: _receipt, amountPaidMinor: _amountPaidMinor, ...payment } = event.payment;
  return { ...event, payment };
}

function partOf({ n, covers, count }: LinkPlan): NonNullable<PaymentLinkView["part"]> {
  const [first = 1, last] = n === null ? [covers?.[0], covers?.at(-1)] : [n];
  return { n: first, ...(last !== undefined && { to: last }), ...(count !== null && { count }) };
}

/** Undefined if the token of the plan's page is missing, or none of this node's secrets sealed it. */
function planPathOf({ id, token }: LinkPlan, sealer: Sealer, lang: Language | undefined): string | undefined {
  const opened = token === null ? undefined : openToken(sealer, id, Buffer.from(token, "hex"), "plan");
  return opened === undefined ? undefined : `../plan/${pathOf(opened, { lang })}`;
}

const linkView = (link: PageLinkRow): PaymentLinkView => ({
  currency: link.currency,
  status: link.current_status,
  isReusable: link.is_reusable,
  ...(link.plan && { part: partOf(link.plan) }),
  ...(link.description !== null && { description: link.description }),
  ...(link.items !== null && { items: link.items }),
  ...(link.amount_minor !== null && { amountMinor: link.amount_minor }),
  ...(link.min_minor !== null && { minMinor: link.min_minor }),
  ...(link.max_minor !== null && { maxMinor: link.max_minor }),
  ...(link.expires_at !== null && { expiresAt: link.expires_at.toISOString() }),
});

function choiceOf(
  { name, limits }: Provider,
  { link, order }: PageState,
  terms: ContentOptions["terms"],
): ProviderChoice {
  return {
    name,
    takesPhone: limits.phone !== undefined,
    isSelected: order?.isOwn === true && order.event.payment.provider === name,
    isSandbox: !terms(name).live,
    takes: {
      minMinor: Number(limits.minMinor),
      maxMinor: Number(limits.maxMinor),
      stepMinor: Number(limits.stepMinor),
    },
    ...operatorOf(name, link.currency),
  };
}
