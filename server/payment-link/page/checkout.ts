/** The checkout page of a payment link: the form, the card of its order, or why it cannot be paid. */
import { positionOf } from "../../../client-sdk/protocol.ts";
import { moneyOf } from "../../page/format.ts";
import { documentOf } from "../../page/frame.ts";
import { attribute, type Html, html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import type { CheckoutView } from "../page-view.ts";
import { selectedOf } from "./choice.ts";
import { checkoutStyle, preload, script } from "./document.ts";
import { faultText } from "./fault.ts";
import { form } from "./form.ts";
import { type Spoken, wordsOf } from "./language.ts";
import { closedCard, formCard, orderCard, presentOrder } from "./state.ts";
import { amountOf, summary } from "./summary.ts";

/** 5 s, because a payer without scripts looks at the page while the phone answers. */
const refreshSDefault = 5;

interface Content {
  title: string;
  /** The cards. */
  main: Html;
  kind: "form" | "order" | "closed";
}

/** Returns the whole HTML document. */
export function renderCheckout(view: CheckoutView): string {
  const { order, shop, lang, nonce, isAgain, refreshS = refreshSDefault } = view;
  const spoken = wordsOf(lang);
  const { title, main, kind } = contentOf(view, spoken);
  const state =
    order &&
    html` data-status="${order.status}" data-version="${positionOf(order)}"${isOpen(order) && html` data-refresh="${refreshS}"`}`;
  return documentOf(
    { shop, lang, nonce },
    {
      style: checkoutStyle,
      keptParameter: isAgain ? "again" : undefined,
      title: `${title} – ${shop.name}`,
      head: html`${kind === "form" && formScripts}${order && watchScripts(view)}${isOpen(order) && reload(refreshS)}`,
      main: html`<main class="${kind}"${state}>${main}${onward(view, spoken)}</main>`,
    },
  );
}

const isOpen = (order: CheckoutView["order"]): boolean => order?.settled === false;

/** The page after the form needs `tukio.js`, so the browser loads it while the payer fills in the form. */
const formScripts = html`${script("pay-form.js")}${["provider-choice.js", "memory.js", "digits.js"].map(preload)}<link rel="prefetch" href="../sdk/tukio.js">`;

const watchScripts = ({ watch }: CheckoutView): Html =>
  html`${script("watch.js")}${watch && html`<script type="module" src="../sdk/tukio.js"></script>`}`;

const reload = (seconds: number): Html => html`<noscript><meta http-equiv="refresh" content="${seconds}"></noscript>`;

function contentOf(view: CheckoutView, spoken: Spoken): Content {
  const { order, paymentLink, canPay } = view;
  const selected = selectedOf(view);
  if (canPay && selected) {
    const main = html`${summary(view, spoken)}${formCard(form(view, spoken, selected), view, spoken)}`;
    return { kind: "form", title: formTitle(view, spoken), main };
  }
  const isShown = order && (!order.settled || isFinal(order.status) || paymentLink.status === "open");
  if (!isShown)
    return { kind: "closed", title: spoken.page.closed[paymentLink.status][0], main: closedCard(view, spoken) };
  const { title } = presentOrder(order, view, spoken);
  return { kind: "order", title, main: html`${summary(view, spoken)}${orderCard(order, view, spoken)}` };
}

const isFinal = (status: string): boolean => status === "review" || status === "succeeded";

/** The first thing that a screen reader says: what is wrong, else what is to be paid. */
function formTitle(view: CheckoutView, spoken: Spoken): string {
  const { order, paymentLink, shop } = view;
  const fault = faultText(view, spoken)?.text;
  if (fault !== undefined) return fault;
  if (order) return presentOrder(order, view, spoken).title;
  const amount = amountOf(view);
  return amount === undefined
    ? fillIn(spoken.page.payShop, { shop: shop.name })
    : fillIn(spoken.page.pay, { amount: moneyOf(amount, paymentLink.currency, spoken) });
}

/** The payer's next step. checkout.css shows it as the main one when the order is paid. */
function onward({ returnUrl, againPath, planPath, shop }: CheckoutView, { page }: Spoken): Html | undefined {
  if (returnUrl === undefined && againPath === undefined && planPath === undefined) return undefined;
  const back = returnUrl !== undefined && /^https?:/i.test(returnUrl) && returnUrl;
  return html`<p class="onward">
${back && html`<a class="back"${attribute("href", back)}>${fillIn(page.back, { shop: shop.name })}</a>`}
${planPath !== undefined && html`<a class="back" href="${planPath}">${page.plan}</a>`}
${againPath !== undefined && html`<a class="again" href="${againPath}">${page.again}</a>`}
</p>`;
}
