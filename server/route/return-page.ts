/** The pages for a payer who is not redirected to the shop. They have no script and load nothing. */

import { createHash } from "node:crypto";

const words = {
  back: {
    title: "You may close this page",
    text: "We are checking your payment with the payment provider. The shop receives the result automatically.",
  },
  wait: {
    title: "One moment, please",
    text: "We cannot look up your payment right now. Please leave this page open: it tries again automatically. You do not pay twice.",
  },
  unknown: {
    title: "There is nothing here",
    text: "This address does not belong to a payment. Go back to the shop to see the status of your order.",
  },
} as const;

export type PageName = keyof typeof words;

/** The page `wait` reloads at this interval. */
const reloadS = 5;

const style = `
  :root { color-scheme: light dark; font: 1.0625rem/1.5 system-ui, sans-serif; }
  body { min-height: 100vh; margin: 0; display: grid; place-items: center; background: Canvas; color: CanvasText; }
  main { max-width: 28rem; padding: 2rem; text-align: center; }
  h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .75rem; text-wrap: balance; }
  p { margin: 0; opacity: .75; text-wrap: pretty; }`;

export const returnPage = (name: PageName): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>${words[name].title}</title>${name === "wait" ? `<meta http-equiv="refresh" content="${reloadS}">` : ""}<style>${style}</style>
<main><h1>${words[name].title}</h1><p>${words[name].text}</p></main>
</html>`;

/** The content security policy of the pages: allows their style sheet and nothing else. */
export const returnPolicy = `default-src 'none'; style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'; frame-ancestors 'none'`;
