/** The form by which a payer pays several instalments at once: all that are owed up to one of them. */
import { dayOf, moneyOf } from "../../page/format.ts";
import { attribute, type Html, html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import type { PartView, PlanView } from "../page-view.ts";
import type { Spoken } from "./language.ts";

/** Undefined if fewer than two can be paid, or a payment is in progress. Unfolded if several are overdue, which are then chosen. */
export function severalForm(view: PlanView, spoken: Spoken): Html | undefined {
  const { parts, actionPath, isTooMuch } = view;
  const owed = parts.filter(({ state }) => state !== "paid" && state !== "cancelled");
  const isBusy = owed.some(({ state }) => state === "inProgress" || state === "review");
  if (owed.length < 2 || isBusy) return undefined;
  const overdue = owed.filter(({ state }) => state === "overdue").length;
  const chosen = Math.max(overdue, 2);
  const { plan } = spoken;
  return html`<details class="several"${attribute("open", overdue > 1 || isTooMuch === true)}><summary>${plan.several}</summary>
<form method="post" action="${actionPath}">
${isTooMuch && html`<p class="error" role="alert">${plan.tooMuch}</p>`}
<label for="n">${plan.howMany}</label>
<select id="n" name="n">${owed.slice(1).map((part, index) => option(part, owed.slice(0, index + 2), { view, spoken, chosen }))}</select>
<button type="submit">${plan.goOn}</button>
</form></details>`;
}

function option(
  { n, dueAt }: PartView,
  covered: readonly PartView[],
  { view, spoken, chosen }: { view: PlanView; spoken: Spoken; chosen: number },
): Html {
  const amountMinor = covered.reduce((sum, part) => sum + part.amountMinor, 0);
  const text = fillIn(spoken.plan.option, {
    date: dayOf(dueAt, view.timeZone, spoken),
    count: new Intl.NumberFormat(spoken.locale).format(covered.length),
    amount: moneyOf(amountMinor, view.currency, spoken),
  });
  return html`<option value="${n}"${attribute("selected", covered.length === chosen)}>${text}</option>`;
}
