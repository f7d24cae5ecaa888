/** The summary of a payment: the amount first, then what it is for. */
import type { Item } from "../../order/order.ts";
import { dateOf, moneyOf } from "../../page/format.ts";
import { type Html, html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import type { CheckoutView } from "../page-view.ts";
import type { Spoken } from "./language.ts";

/** A longer list is folded, because the form must be in view on a phone. */
const openItemsMax = 3;

/** The amount of the link, else of the order. Undefined if the payer enters it, also for another attempt. */
export const amountOf = ({ order, paymentLink, canPay }: CheckoutView): number | undefined =>
  paymentLink.amountMinor ?? (canPay ? undefined : order?.amountMinor);

/** Which instalment of its plan it is, or which ones it covers. */
export function partText(
  { n, to, count }: { n: number; to?: number; count?: number | undefined },
  { locale, page }: Spoken,
): string {
  const { part, partOfEndless, parts, partsOfEndless } = page;
  const [one, many] = count === undefined ? [partOfEndless, partsOfEndless] : [part, parts];
  const [shown = "", last = "", all = ""] = [n, to, count]
    .map((number) => number !== undefined && new Intl.NumberFormat(locale).format(number))
    .map((text) => text || "");
  return fillIn(to === undefined ? one : many, { n: shown, to: last, count: all });
}

export function summary(view: CheckoutView, spoken: Spoken): Html {
  const { paymentLink, shop, canPay } = view;
  const { description, items = [], currency, expiresAt, part } = paymentLink;
  const amount = amountOf(view);
  const { page } = spoken;
  return html`<section class="summary">
${amount === undefined ? html`<h1 class="name">${fillIn(page.payShop, { shop: shop.name })}</h1>` : html`<h1>${moneyOf(amount, currency, spoken)}</h1>`}
${description && html`<p class="what">${description}</p>`}
${itemList(items, currency, spoken)}
${part && html`<p class="until">${partText(part, spoken)}</p>`}
${canPay && expiresAt && html`<p class="until">${fillIn(page.payBy, { time: dateOf(expiresAt, currency, spoken) })}</p>`}
</section>`;
}

function itemList(items: readonly Item[], currency: string, spoken: Spoken): Html | undefined {
  if (items.length === 0) return undefined;
  const number = new Intl.NumberFormat(spoken.locale);
  const list = html`<ul class="items">${items.map(
    ({ name, quantity, unitAmountMinor }) =>
      html`<li><span>${name}${quantity > 1 && html` <span class="times">× ${number.format(quantity)}</span>`}</span> <span class="price">${moneyOf(quantity * unitAmountMinor, currency, spoken)}</span></li>`,
  )}</ul>`;
  if (items.length <= openItemsMax) return list;
  const label = fillIn(spoken.page.items, { count: number.format(items.length) });
  return html`<details><summary>${label}</summary>${list}</details>`;
}
