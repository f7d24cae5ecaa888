/** The HTML of bKash's page in the sandbox. One inline style sheet, no script, no external resource. */
import { createHash } from "node:crypto";
import type { PaymentFacts } from "../../sandbox/prompt-view.ts";
import type { Checkout } from "./sandbox-checkout.ts";

/** The content of the page. `facts`: the merchant's order, if this node knows it. */
export type Shown =
  | (Known & { step: "wallet" | "code" | "pin"; problem: string | undefined; wallet: string | undefined })
  | (Known & { step: "over"; onward: string })
  | { step: "unknown" };

interface Known {
  checkout: Checkout;
  facts: PaymentFacts | undefined;
}

const steps = {
  wallet: {
    number: 1,
    title: "Your bKash account number",
    label: "Account number",
    hint: "<b>01770618575</b> pays. <b>01823074817</b> has too little money, <b>01823074818</b> is blocked. The last two digits of any other number choose a scenario.",
    field: 'type="tel" inputmode="tel" autocomplete="tel" placeholder="01XXXXXXXXX"',
  },
  code: {
    number: 2,
    title: "Enter the verification code",
    label: "Verification code",
    hint: "The code is always <b>123456</b>.",
    field: 'type="text" inputmode="numeric" autocomplete="one-time-code"',
  },
  pin: {
    number: 3,
    title: "Enter your PIN",
    label: "PIN",
    hint: "The PIN is always <b>12121</b>.",
    field: 'type="password" inputmode="numeric" autocomplete="off"',
  },
} as const;

const style = `
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, "Noto Sans", sans-serif;
    --accent: #d80f66; --ink: light-dark(#1d1720, #f3eef4); --soft: light-dark(#665b69, #b9adbd);
    --paper: light-dark(#fff, #221b25); --ground: light-dark(#f4eef2, #151017); --line: light-dark(#b5a5b0, #6f6174);
    --wrong: light-dark(#a8001c, #ff9aa8); --link: light-dark(#b00b54, #ff8cbc); }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; min-height: 100svh; display: grid; place-items: center; padding: 1rem;
    background: var(--ground); color: var(--ink); }
  main { width: 100%; max-width: 26rem; background: var(--paper); border-radius: .9rem; overflow: hidden;
    box-shadow: 0 1px 2px #0002, 0 12px 40px #0002; }
  header { background: var(--accent); color: #fff; padding: 1rem 1.25rem 1.1rem; }
  header p { margin: 0; }
  .brand { display: flex; justify-content: space-between; align-items: center; gap: 1rem; font-weight: 700; font-size: 1.125rem; }
  .brand span { font-size: .75rem; font-weight: 600; letter-spacing: .04em; border: 1px solid #fff; border-radius: 2rem; padding: .05rem .6rem; }
  .amount { font-size: 1.875rem; line-height: 1.2; font-weight: 700; font-variant-numeric: tabular-nums; padding-top: .75rem; }
  .invoice { font-size: .8125rem; overflow-wrap: anywhere; }
  section { padding: 1.25rem; }
  .step { margin: 0 0 .25rem; font-size: .8125rem; color: var(--soft); }
  h1 { margin: 0 0 1rem; font-size: 1.25rem; line-height: 1.25; text-wrap: balance; }
  section > p { margin: 0 0 1rem; color: var(--soft); text-wrap: pretty; }
  label { display: block; margin-bottom: .5rem; font-size: .875rem; font-weight: 600; }
  input { width: 100%; min-height: 3rem; padding: .5rem .8rem; font: inherit; font-size: 1.125rem; letter-spacing: .03em;
    font-variant-numeric: tabular-nums; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: .5rem; }
  input::placeholder { color: var(--soft); opacity: 1; }
  [aria-invalid] { border-color: var(--wrong); }
  .wrong { margin: .6rem 0 0; color: var(--wrong); font-size: .875rem; font-weight: 600; }
  .hint { margin: .6rem 0 0; font-size: .8125rem; color: var(--soft); text-wrap: pretty; }
  .hint b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
  button, .go { display: grid; place-items: center; width: 100%; min-height: 3rem; margin-top: 1.1rem; padding: .5rem 1rem; border: 0; border-radius: .5rem;
    background: var(--accent); color: #fff; font: inherit; font-weight: 700; text-align: center; text-decoration: none; cursor: pointer; }
  button:hover, .go:hover { background: #b50c55; }
  .others { display: flex; flex-wrap: wrap; gap: 0 .5rem; margin-top: .35rem; }
  .others button { flex: 1 1 6rem; margin-top: .35rem; background: none; color: var(--link); font-weight: 600; }
  .others button:hover { background: light-dark(#f9e9f1, #372733); }
  :focus-visible { outline: 3px solid light-dark(#1f6feb, #8fbcff); outline-offset: 2px; }
  footer { padding: 0 1.25rem 1.25rem; font-size: .8125rem; color: var(--soft); }
  footer p { margin: 0; border-top: 1px solid light-dark(#e8dfe5, #3a303d); padding-top: .9rem; text-wrap: pretty; }`;

/**
 * Allows the page its style sheet only. It has no `form-action`, because browsers apply that to redirects too, and the form
 * redirects to the merchant.
 */
export const pagePolicy = `default-src 'none'; base-uri 'none'; style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'; frame-ancestors 'none'`;

export function showPage(shown: Shown): string {
  const { title, content } = body(shown);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>${title} – bKash sandbox</title><style>${style}</style>
<main>
<header>
<p class="brand">bKash payment <span>SANDBOX</span></p>
${"checkout" in shown ? summary(shown) : ""}
</header>
<section>
${content}
</section>
<footer><p>This page imitates bKash’s page for tests. No money moves, and your entries stay in this sandbox.</p></footer>
</main>
</html>`;
}

/** Without the order, the invoice number of the request names the payment. */
function summary({ checkout: { amount, merchantInvoiceNumber }, facts }: Known): string {
  const lines = facts
    ? [facts.merchant ?? "", `Order ${facts.orderId}`, facts.description ?? ""]
    : [`Invoice ${merchantInvoiceNumber}`];
  const paragraphs = lines.filter((line) => line !== "").map((line) => `<p class="invoice">${escapeHtml(line)}</p>`);
  return [`<p class="amount">BDT ${grouped(amount)}</p>`, ...paragraphs].join("\n");
}

/** `1500.00` as `1,500.00`. */
const grouped = (amount: string): string => escapeHtml(amount).replace(/\B(?=(\d{3})+\.)/g, ",");

function body(shown: Shown): { title: string; content: string } {
  if (shown.step === "unknown") {
    const title = "There is no such payment";
    return {
      title,
      content: `<h1>${title}</h1>\n<p>It does not exist, or it has expired. Go back to the shop.</p>`,
    };
  }
  if (shown.step === "over") {
    const title = "You are done here";
    const link = `<a class="go" href="${escapeHtml(shown.onward)}">Back to the shop</a>`;
    return { title, content: `<h1>${title}</h1>\n<p>The shop shows the result of your payment.</p>\n${link}` };
  }
  return { title: steps[shown.step].title, content: stepForm(shown) };
}

function stepForm({ step, checkout, problem, wallet }: Extract<Shown, { problem: unknown }>): string {
  const { number, title, label, hint, field } = steps[step];
  const known = step === "wallet" && /^01\d{9}$/.test(checkout.payerReference) ? checkout.payerReference : "";
  const wrong = problem === undefined ? "" : `<p class="wrong" id="wrong" role="alert">${escapeHtml(problem)}</p>`;
  // The Enter key presses the first button.
  return `<p class="step">Step ${number} of 3${wallet === undefined ? "" : ` · ${escapeHtml(wallet)}`}</p>
<h1>${title}</h1>
<form method="post" action="?">
<input type="hidden" name="token" value="${escapeHtml(checkout.token)}">
<label for="value">${label}</label>
<input id="value" name="value" ${field} value="${escapeHtml(known)}" maxlength="24" autofocus
 aria-describedby="${wrong && "wrong "}hint"${wrong && ' aria-invalid="true"'}>
${wrong}
<p class="hint" id="hint">${hint}</p>
<button name="do" value="go">${step === "pin" ? `Pay BDT ${grouped(checkout.amount)}` : "Continue"}</button>
<div class="others">
<button name="do" value="cancel">Cancel</button>
<button name="do" value="fail">Let it fail</button>
</div>
</form>`;
}

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
