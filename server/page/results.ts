/** The results of an order, without a script. `frame.ts` has their style. */
import { presentResult, type ResultPresentation } from "../../client-sdk/element/result.ts";
import { resultWordsOf } from "../../client-sdk/element/result-words.ts";
import type { Result } from "../order/order.ts";
import { type Spoken, timeZoneOf } from "./format.ts";
import { type Html, html, trusted } from "./html.ts";
import { qrSvg } from "./qr.ts";

/** `heading`: the element that follows the page's headings above it. */
export function resultList(
  results: readonly Result[],
  currency: string,
  { locale, heading }: Spoken & { heading: "h2" | "h3" },
): Html | undefined {
  if (results.length === 0) return undefined;
  const words = resultWordsOf(locale);
  const options = { words, locale, timeZone: timeZoneOf(currency), nowMs: Date.now() };
  const shown = results.map((result) => presentResult(result, options));
  return html`<div class="results"><${trusted(heading)}>${words.heading}</${trusted(heading)}><ul>${shown.map((one) => resultItem(one, words.qr))}</ul></div>`;
}

const resultItem = ({ title, until, hasQr, code, text, url, link }: ResultPresentation, label: string): Html =>
  html`<li><p class="title">${title}</p>
${until && html`<p class="hint">${until}</p>`}
${hasQr && code && qrOf(code, label)}
${code && html`<p class="code">${code}</p>`}
${text && html`<p class="text">${text}</p>`}
${link ? html`<a href="${link.href}" target="_blank" rel="noopener noreferrer">${link.label}</a>` : url && html`<p>${url}</p>`}</li>`;

function qrOf(code: string, label: string): Html | undefined {
  try {
    return html`<div class="qr" role="img" aria-label="${label}">${trusted(qrSvg(code))}</div>`;
  } catch {
    return undefined; // Too long for a QR code: the payer has the code as text.
  }
}
