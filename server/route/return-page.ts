/**
 * The pages for a payer who is not redirected to the shop. The page of a payment shows `<order-status>`, which follows the order, and until
 * its script runs a text that is true when the page is sent. The other pages, also that of an older payment, have no script.
 */
import { createHash } from "node:crypto";
import type { PageLanguage } from "../http/accept.ts";
import { pageIcon, pageStyle } from "../http/error-page.ts";
import { socketOrigins } from "../http/static-files.ts";
import type { Language, StatusEvent } from "../order/order.ts";
import { type PageWords, words } from "./return-words.ts";

/** A page for a payer. */
export type ReturnPage =
  /**
   * The payment of an order. Without a watch token, the page states the order's status and has no script. `lang`: the language that
   * the merchant chose for the payer.
   */
  | { name: "order"; order: StatusEvent; watchToken?: string; lang?: Language | null }
  /** The payment cannot be looked up or completed yet; the page reloads. `onward`: the shop's page, if it is known. */
  | { name: "wait"; onward?: URL | undefined }
  /** The URL belongs to no payment. */
  | { name: "unknown" };

/** The request for the page. */
export interface PageView {
  language: PageLanguage;
  /** The node's root, relative to the page. */
  root: ".." | "../..";
  /** Allows the style of the element in browsers that have no constructable style sheets. Of one answer. */
  nonce: string;
}

/** The interval at which a page reloads: `wait` always, and that of an open order in browsers without scripts. */
const reloadS = 5;

const style = `
  main > div + p { margin-top: 1.5rem; }
  main.live { padding: .5rem; }
  order-status { margin: 0 auto; --tukio-ink: var(--ink); --tukio-muted: var(--muted); --tukio-surface: var(--card);
    --tukio-line: var(--line); }
  order-status::part(card) { border: 0; }
  order-status:not(:defined) { display: none; }
  order-status:defined + .text { display: none; }
  .live h1 { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  .text { padding: 1.5rem 1rem; }
  h2 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; text-wrap: balance; }
  .order { margin-top: 1rem; color: var(--muted); overflow-wrap: anywhere; }
  a { color: #0a6b4f; }
  @media (prefers-color-scheme: dark) { a { color: #62d5a8; } }`;

const hashOf = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const hashes = [pageStyle, style].map(hashOf).join(" ");

/** The content security policy of a page: its own style sheets, and for an order's page the SDK and its requests to this host. */
export function returnPolicy(page: ReturnPage, { nonce, host }: { nonce: string; host: string }): string {
  const closed = ["img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"];
  if (!isLivePage(page)) return ["default-src 'none'", `style-src ${hashes}`, ...closed].join("; ");
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src ${hashes} 'nonce-${nonce}'`,
    ["connect-src 'self'", ...socketOrigins(host)].join(" "),
    ...closed,
  ].join("; ");
}

type LivePage = Extract<ReturnPage, { name: "order" }> & { watchToken: string };

const isLivePage = (page: ReturnPage): page is LivePage => page.name === "order" && page.watchToken !== undefined;

/** The words that are true for an order when the page is sent. */
function stateOf({ status, settled }: StatusEvent): keyof PageWords["order"] {
  if (status === "succeeded" || status === "review") return status;
  return settled ? "failed" : "open";
}

const reload = `<meta http-equiv="refresh" content="${reloadS}">`;

export function returnPage(page: ReturnPage, { language, root, nonce }: PageView): string {
  const spoken = words[language];
  const isLive = isLivePage(page);
  const [title, text] = page.name === "order" ? spoken.order[stateOf(page.order)] : spoken[page.name];
  const again = isReloading(page) ? (isLive ? `<noscript>${reload}</noscript>` : reload) : "";
  const script = isLive ? `<script type="module" src="${root}/sdk/tukio.js"></script>` : "";
  return `<!doctype html>
<html lang="${language}">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>${title}</title>${pageIcon}${again}<style>${pageStyle}</style><style>${style}</style>${script}
<main${isLive ? ' class="live"' : ""}>${isLive ? card(page, { root, nonce, spoken }) : `<div><h1>${title}</h1><p>${text}</p></div>`}${onwardLink(page, spoken)}</main>
</html>`;
}

const isReloading = (page: ReturnPage): boolean => (page.name === "order" ? !page.order.settled : page.name === "wait");

function card(
  { order, watchToken }: LivePage,
  { root, nonce, spoken }: Pick<PageView, "root" | "nonce"> & { spoken: PageWords },
): string {
  const orderId = escapeHtml(order.orderId);
  const [title, text] = spoken.order[stateOf(order)];
  return `<h1>${spoken.payment}</h1>
<order-status url="${root}" order-id="${orderId}" token="${watchToken}" nonce="${nonce}"></order-status>
<div class="text"><h2>${title}</h2><p>${text}</p><p class="order">${orderId}</p></div>`;
}

const onwardLink = (page: ReturnPage, { back }: PageWords): string =>
  page.name === "wait" && page.onward ? `<p><a href="${escapeHtml(page.onward.href)}">${back}</a></p>` : "";

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
