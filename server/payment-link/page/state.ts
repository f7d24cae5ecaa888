/**
 * The card of an order: `<order-status>`, and until its script runs the same state as text, which is true when the page is sent. Both
 * use the words of the SDK.
 */
import { countdownOf } from "../../../client-sdk/element/countdown.ts";
import { type Presentation, presentationOf } from "../../../client-sdk/element/presentation.ts";
import type { Phrase } from "../../../client-sdk/element/words.ts";
import type { StatusEvent } from "../../order/order.ts";
import { timeZoneOf } from "../../page/format.ts";
import { attribute, type Html, html } from "../../page/html.ts";
import { resultList } from "../../page/results.ts";
import { sign } from "../../page/sign.ts";
import type { CheckoutView } from "../page-view.ts";
import type { Spoken } from "./language.ts";

/** The order as the SDK shows it. An order of another browser shows nothing of its payment. */
export function presentOrder(
  order: StatusEvent,
  { shop, watch, paymentLink }: CheckoutView,
  spoken: Spoken,
): Presentation {
  const { sdk: words, locale, page } = spoken;
  const snapshot = { event: order, connection: "open", transport: undefined, skewMs: 0, error: undefined } as const;
  const time = countdownOf(order, 0);
  const timeZone = timeZoneOf(paymentLink.currency);
  const presentation = presentationOf(snapshot, { words, locale, timeZone, time, page: { contact: shop.contact } });
  if (watch) return presentation;
  const other = { ...presentation, help: undefined, detail: [], action: undefined };
  const phrased = ([title, text]: Phrase): Presentation => ({ ...other, title, text });
  if (order.status === "succeeded") return phrased(page.closed.paid);
  if (order.status === "review") return phrased(page.elsewhere.review);
  if (!order.settled) return phrased(page.elsewhere.inProgress);
  return { ...phrased(page.elsewhere.notMade), tone: "neutral", icon: "info" };
}

export function orderCard(order: StatusEvent, view: CheckoutView, spoken: Spoken): Html {
  const { watch, shop, paymentLink, actionPath, nonce } = view;
  const presentation = presentOrder(order, view, spoken);
  const live =
    watch &&
    html`<order-status url=".." order-id="${watch.orderId}" token="${watch.token}" nonce="${nonce}" merchant="${shop.name}"${attribute("item", paymentLink.description)}${attribute("contact", shop.contact)} retry-url="${actionPath}"></order-status>`;
  return html`<section class="card live">${live}${stateText(order, presentation, view, spoken)}</section>`;
}

function stateText(order: StatusEvent, shown: Presentation, view: CheckoutView, spoken: Spoken): Html {
  const { tone, icon, title, text, help, test, action, contact, detail } = shown;
  return html`<div class="state ${tone}">
${test && html`<p class="test">${test}</p>`}
${sign(icon)}
<h2>${title}</h2><p>${text}</p>
${help && html`<p class="help">${help}</p>`}
${action?.href && html`<a class="primary" href="${action.href}">${action.label}</a>`}
${!order.settled && html`<noscript><p><a href="${view.actionPath}">${spoken.page.checkAgain}</a></p></noscript>`}
${contact && html`<p class="contact">${contact.label} <a${attribute("href", contact.href)}>${contact.text}</a></p>`}
${view.watch && resultList(order.results ?? [], order.currency, { ...spoken, heading: "h3" })}
${detail.length > 0 && html`<dl>${detail.map(([label, value]) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`}
</div>`;
}

/** The card of the form. After a payment that was not made, it says why, and checkout.js watches for late money. */
export function formCard(form: Html, view: CheckoutView, spoken: Spoken): Html {
  const { order, providers, watch } = view;
  const isTest = order ? !order.live : providers.every(({ isSandbox }) => isSandbox);
  return html`<section class="card">
${isTest && html`<p class="test">${spoken.sdk.test}</p>`}
${order && notice(order, view, spoken)}
${watch && html`<order-status hidden url=".." order-id="${watch.orderId}" token="${watch.token}"></order-status>`}
${form}
</section>`;
}

/** Why the payment before was not made. */
function notice(order: StatusEvent, view: CheckoutView, spoken: Spoken): Html {
  const { tone, icon, title, text, help } = presentOrder(order, view, spoken);
  return html`<div class="notice ${tone}">${sign(icon)}<div><h2>${title}</h2><p>${text}</p>
${help && html`<p>${help}</p>`}</div></div>`;
}

/** The state of a link that cannot be paid. */
export function closedCard({ paymentLink }: CheckoutView, spoken: Spoken): Html {
  const [title, text] = spoken.page.closed[paymentLink.status];
  return html`<section class="card"><div class="state ${paymentLink.status === "paid" ? "good" : "neutral"}">
${sign(paymentLink.status === "paid" ? "check" : paymentLink.status === "expired" ? "clock" : "info")}
<h1>${title}</h1><p>${text}</p>
</div></section>`;
}
