/** The page of a plan: what is to be paid next, the state of the plan, and its instalments. */
import { moneyOf } from "../../page/format.ts";
import { documentOf, readStyle } from "../../page/frame.ts";
import { type Html, html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import type { ShopView } from "../../page/shop.ts";
import { sign } from "../../page/sign.ts";
import { checkoutStyle, script } from "../../payment-link/page/document.ts";
import { partText } from "../../payment-link/page/summary.ts";
import { hashOf } from "../../payment-link/token.ts";
import type { PartView, PlanView } from "../page-view.ts";
import { type Spoken, wordsOf } from "./language.ts";
import { dueText, partList } from "./part-list.ts";
import { severalForm } from "./several.ts";
import { presentPlan, type Shown } from "./state.ts";

const style = checkoutStyle + readStyle(new URL("./plan.css", import.meta.url));

/** 5 s, because the payer looks at the page while the phone answers. */
const busyRefreshS = 5;

/** 30 s, because a payment may start elsewhere. */
const idleRefreshS = 30;

/** Returns the whole HTML document. */
export function renderPlan(view: PlanView): string {
  const { shop, lang, nonce, status } = view;
  const spoken = wordsOf(lang);
  const shown = presentPlan(view, spoken);
  const isBusy = view.parts.some(({ state }) => state === "inProgress");
  const isOver = (status === "completed" || status === "cancelled") && !isBusy;
  const refreshS = view.refreshS ?? (isBusy ? busyRefreshS : idleRefreshS);
  const content = html`${summary(view, shown, spoken)}${card(view, shown, spoken)}`;
  // The page loads again when its content is another one.
  const version = hashOf(content.html).toString("hex").slice(0, 16);
  const watched = !isOver && html` data-version="${version}" data-refresh="${refreshS}"`;
  return documentOf(
    { shop, lang, nonce },
    {
      style,
      title: `${titleOf(view, shown, spoken)} – ${shop.name}`,
      head: html`${!isOver && script("watch.js")}${isBusy && html`<noscript><meta http-equiv="refresh" content="${refreshS}"></noscript>`}`,
      main: html`<main class="order plan"${watched}>${content}</main>`,
    },
  );
}

/** The first thing that a screen reader says: what is wrong or over, else what is to be paid. */
function titleOf({ currency, description }: PlanView, { notice, next }: Shown, spoken: Spoken): string {
  if (notice) return notice.title;
  return next ? fillIn(spoken.page.pay, { amount: moneyOf(next.amountMinor, currency, spoken) }) : (description ?? "");
}

function summary(view: PlanView, { next }: Shown, spoken: Spoken): Html {
  const { description, currency, count, shop, paidMinor } = view;
  const amount = next?.amountMinor ?? (view.status === "completed" ? paidMinor : undefined);
  return html`<section class="summary">
${amount === undefined ? html`<h1 class="name">${description ?? shop.name}</h1>` : html`<h1>${moneyOf(amount, currency, spoken)}</h1>`}
${amount !== undefined && description && html`<p class="what">${description}</p>`}
${next && html`<p class="until">${partText({ n: next.n, count }, spoken)}<br>${dueText(next, view, spoken)}</p>`}
</section>`;
}

function card(view: PlanView, { notice, next }: Shown, spoken: Spoken): Html {
  return html`<section class="card">
${view.isTest && html`<p class="test">${spoken.sdk.test}</p>`}
${notice && html`<div class="notice ${notice.tone}">${sign(notice.icon)}<div><h2>${notice.title}</h2><p>${notice.text}</p></div></div>`}
${next && onward(next, view, spoken)}
${severalForm(view, spoken)}
${progress(view, spoken)}
${partList(view, spoken)}
</section>`;
}

function onward({ path, state, amountMinor }: PartView, { currency }: PlanView, spoken: Spoken): Html | undefined {
  if (path === undefined) return undefined;
  const isStarted = state === "inProgress" || state === "review";
  return isStarted
    ? html`<p class="see"><a href="${path}">${spoken.plan.see}</a></p>`
    : html`<a class="primary" href="${path}">${fillIn(spoken.page.pay, { amount: moneyOf(amountMinor, currency, spoken) })}</a>`;
}

/** A plan that is cancelled or has no end has no total. */
function progress({ status, paidMinor, remainingMinor, currency }: PlanView, spoken: Spoken): Html {
  const { plan } = spoken;
  const paid = moneyOf(paidMinor, currency, spoken);
  if (remainingMinor === undefined || status === "cancelled")
    return html`<p class="progress">${fillIn(plan.progressWithoutTotal, { paid })}</p>`;
  const text = fillIn(plan.progress, { paid, total: moneyOf(paidMinor + remainingMinor, currency, spoken) });
  return html`<div class="progress"><progress max="${paidMinor + remainingMinor}" value="${paidMinor}" aria-label="${text}"></progress>
<p><span>${text}</span> ${remainingMinor > 0 && html`<span class="left">${fillIn(plan.left, { amount: moneyOf(remainingMinor, currency, spoken) })}</span>`}</p></div>`;
}

/** The page for an address that belongs to no plan. It has no script. */
export function renderUnknownPlan({
  shop,
  lang,
  nonce,
}: {
  shop: ShopView;
  lang: PlanView["lang"];
  nonce: string;
}): string {
  const [title, text] = wordsOf(lang).plan.unknown;
  const main = html`<main class="closed"><section class="card"><div class="state neutral">${sign("info")}<h1>${title}</h1><p>${text}</p></div></section></main>`;
  return documentOf({ shop, lang, nonce }, { style, title: `${title} – ${shop.name}`, main });
}
