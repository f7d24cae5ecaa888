/**
 * The page that a person sees in a browser in place of a problem document. It has no script, loads nothing, and contains
 * nothing of the request but its id.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { HubError } from "../errors.ts";
import type { PageLanguage } from "./accept.ts";
import { iconFiles } from "./static-files.ts";

/** `missing`: nothing is there. `method`: only programs call it. `later`: a reload may help. */
type Kind = "missing" | "method" | "refused" | "later";

type Words = Readonly<Record<Kind, readonly [title: string, text: string]>>;

const words: Readonly<Record<PageLanguage, Words>> = {
  en: {
    missing: ["Page not found", "There is no page at this address. Check the address, or go back to the shop."],
    method: ["This address is not a page", "A browser cannot open this address. Please go back to the shop."],
    refused: [
      "Page cannot be shown",
      "The address is incomplete, or your browser has no access to it. Please go back to the shop.",
    ],
    later: ["Please try again", "The page cannot be shown right now. Wait a moment, then reload it."],
  },
  sw: {
    missing: ["Ukurasa haupatikani", "Hakuna ukurasa kwenye anwani hii. Kagua anwani, au rudi dukani."],
    method: ["Anwani hii si ukurasa", "Kivinjari hakiwezi kufungua anwani hii. Tafadhali rudi dukani."],
    refused: [
      "Ukurasa hauwezi kuonyeshwa",
      "Anwani haijakamilika, au kivinjari chako hakina ruhusa. Tafadhali rudi dukani.",
    ],
    later: ["Tafadhali jaribu tena", "Ukurasa hauwezi kuonyeshwa sasa hivi. Subiri kidogo, kisha uupakie upya."],
  },
  bn: {
    missing: ["পাতাটি পাওয়া যায়নি", "এই ঠিকানায় কোনো পাতা নেই। ঠিকানাটি যাচাই করুন, অথবা দোকানে ফিরে যান।"],
    method: ["এই ঠিকানাটি কোনো পাতা নয়", "ব্রাউজারে এই ঠিকানা খোলা যায় না। দোকানে ফিরে যান।"],
    refused: ["পাতাটি দেখানো যাচ্ছে না", "ঠিকানাটি অসম্পূর্ণ, অথবা আপনার ব্রাউজারের এটি দেখার অনুমতি নেই। দোকানে ফিরে যান।"],
    later: ["আবার চেষ্টা করুন", "পাতাটি এখন দেখানো যাচ্ছে না। একটু অপেক্ষা করে আবার লোড করুন।"],
  },
};

function kindOf({ status, retryable }: HubError): Kind {
  if (retryable) return "later";
  if (status === 404) return "missing";
  return status === 405 || status === 426 ? "method" : "refused";
}

/** The style of pages for payers. */
export const pageStyle = `
  :root { color-scheme: light dark; font: 1.0625rem/1.5 ui-sans-serif, system-ui, "Noto Sans", sans-serif;
    --paper: #f7f4ee; --card: #fff; --ink: #1c1a17; --muted: #655f56; --line: #e2dcd0; }
  @media (prefers-color-scheme: dark) {
    :root { --paper: #12110e; --card: #1b1a16; --ink: #f3f0e8; --muted: #a9a297; --line: #35322b; } }
  * { box-sizing: border-box; }
  body { min-height: 100vh; min-height: 100svh; margin: 0; padding: 1rem; display: grid; place-items: center;
    background: var(--paper); color: var(--ink); }
  main { width: 100%; max-width: 28rem; padding: 2rem 1.5rem; text-align: center; background: var(--card);
    border: 1px solid var(--line); border-radius: .875rem; }
  h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; text-wrap: balance; }
  p { margin: 0; text-wrap: balance; }
  footer { margin-top: 1.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--muted);
    font-size: .8125rem; overflow-wrap: anywhere; }`;

/** The icon of pages for payers. In the page, because such a page loads nothing and may be at any path. Its source is `img-src data:`. */
export const pageIcon = `<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(readFileSync(iconFiles["icon.svg"], "utf8"))}">`;

/** Allows the page's own style sheet, its icon and nothing else. */
export const errorPagePolicy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(pageStyle).digest("base64")}'`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** `requestId` is in the log too, so that a payer can quote it. It has letters, digits, `.`, `_` and `-` only. */
export function errorPage(error: HubError, { language, requestId }: { language: PageLanguage; requestId: string }) {
  const [title, text] = words[language][kindOf(error)];
  return `<!doctype html>
<html lang="${language}">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>${title}</title>${pageIcon}<style>${pageStyle}</style>
<main><h1>${title}</h1><p>${text}</p><footer lang="en">${error.status} ${error.code}<br>${requestId}</footer></main>
</html>`;
}
