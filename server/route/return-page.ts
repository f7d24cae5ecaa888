/** What a payer sees who cannot be sent on to the shop. No script, one inline style sheet, nothing from outside. */

import { createHash } from "node:crypto";

const words = {
  back: {
    title: "You may close this page",
    text: "We are asking the payment provider what became of your payment. The shop receives the result automatically.",
  },
  wait: {
    title: "One moment, please",
    text: "Your payment could not be looked up just now. This page tries again by itself: please leave it open. Nothing is paid twice.",
  },
  unknown: {
    title: "There is nothing here",
    text: "This address does not belong to a payment. Go back to the shop: it knows how your order stands.",
  },
} as const;

export type PageName = keyof typeof words;

/** The page that is to be waited on loads itself again after so many seconds. */
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

/** Lets the page have its style and nothing else. */
export const returnPolicy = `default-src 'none'; style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'; frame-ancestors 'none'`;
