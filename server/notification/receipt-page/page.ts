/**
 * The receipt that a payer prints or keeps: on A6, on a roll of 80 mm, on a screen. It needs no script. The frame's policy, its
 * `noindex` and the headers of `sendPrivatePage` keep it private to those who have its address.
 */
import type { Language } from "../../order/order.ts";
import { documentOf, readStyle, resultsStyle } from "../../page/frame.ts";
import { type Html, html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import { resultList } from "../../page/results.ts";
import type { ShopView } from "../../page/shop.ts";
import { sign } from "../../page/sign.ts";
import { script } from "../../payment-link/page/document.ts";
import { notificationWordsOf } from "../language.ts";
import { type Receipt, type ReceiptFacts, receiptFacts } from "../receipt-facts.ts";
import type { ReceiptWords } from "../words.ts";

export interface ReceiptPage {
  shop: ShopView;
  lang: Language;
  /** Allows the page's styles in its Content Security Policy. Of one answer. */
  nonce: string;
}

export interface ReceiptPageView extends ReceiptPage {
  receipt: Receipt;
}

const style = readStyle(new URL("./receipt.css", import.meta.url)) + resultsStyle;

/** Returns the whole HTML document. */
export function renderReceiptPage({ receipt, shop, lang, nonce }: ReceiptPageView): string {
  const { receipt: words } = notificationWordsOf(lang);
  const facts = receiptFacts(receipt, lang, new Date());
  return documentOf(
    { shop, lang, nonce },
    {
      style,
      title: `${words.title} ${receipt.orderId} – ${shop.name}`,
      head: script("print-button.js"),
      main: html`<main class="receipt"><section class="card">
${facts.test && html`<p class="test">${facts.test}</p>`}
<h1>${words.title}</h1>
<p class="amount">${facts.amount}</p>
${facts.description && html`<p class="what">${facts.description}</p>`}
${facts.items.length > 0 && itemList(facts, words)}
<dl>${facts.rows.map(([label, value]) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
${resultList(receipt.results, receipt.currency, { locale: lang, heading: "h2" })}
<p class="note">${fillIn(words.thanks, { shop: shop.name })} ${words.notTax}</p>
</section>
<p id="print" hidden><button type="button" class="primary">${words.print}</button></p></main>`,
    },
  );
}

const itemList = ({ items, amount }: ReceiptFacts, { total }: ReceiptWords): Html =>
  html`<ul class="items">${items.map(
    ({ name, times, amount: value }) =>
      html`<li><span>${name}${times && html` <span class="times">${times}</span>`}</span> <span class="price">${value}</span></li>`,
  )}<li class="total"><span>${total}</span> <span class="price">${amount}</span></li></ul>`;

/** The page for an address that belongs to no receipt. */
export function renderUnknownReceipt({ shop, lang, nonce }: ReceiptPage): string {
  const [title, text] = notificationWordsOf(lang).receipt.unknown;
  const main = html`<main class="receipt"><section class="card"><div class="missing">${sign("info")}<h1>${title}</h1><p>${text}</p></div></section></main>`;
  return documentOf({ shop, lang, nonce }, { style, title: `${title} – ${shop.name}`, main });
}
