/** The page to print for a counter, on A6: what to do, and the code to scan. */

import { documentOf } from "../../page/frame.ts";
import { html, trusted } from "../../page/html.ts";
import type { PrintView } from "../page-view.ts";
import { checkoutStyle, readOwnStyle, script } from "./document.ts";
import { wordsOf } from "./language.ts";

const style = checkoutStyle + readOwnStyle("print.css");

/** `qrSvg`: the code of `url`, as `qrSvg` of `../../page/qr.ts` makes it. */
export function renderPrintPage(view: PrintView, qrSvg: string): string {
  const { shop, lang, nonce, url, amountText, description } = view;
  const spoken = wordsOf(lang);
  const { title, steps, amountStep, button, address } = spoken.page.print;
  const shownSteps = steps.map((step, index) => (index === 1 && amountText === undefined ? amountStep : step));
  return documentOf(
    { shop, lang, nonce },
    {
      style,
      title: `${title} – ${shop.name}`,
      head: script("print-button.js", "../.."),
      main: html`<main class="print">
<h1>${title}</h1>
${description && html`<p class="what">${description}</p>`}
${amountText && html`<p class="amount">${amountText}</p>`}
<div class="qr">${trusted(qrSvg)}</div>
<ol>${shownSteps.map((step) => html`<li>${step}</li>`)}</ol>
<p class="address">${address} <span>${url.replace(/^https?:\/\//, "")}</span></p>
<p id="print" hidden><button type="button" class="primary">${button}</button></p>
</main>`,
    },
  );
}
