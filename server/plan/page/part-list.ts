/** The instalments of a plan, in their order. In a long list those that are long past or far ahead are folded. */
import { iconPath } from "../../../client-sdk/element/icon-path.ts";
import type { Icon } from "../../../client-sdk/element/presentation.ts";
import { dayOf, moneyOf } from "../../page/format.ts";
import { type Html, html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import type { PartView, PlanView } from "../page-view.ts";
import type { Spoken } from "./language.ts";

/** A longer list is folded, so that it fits on a phone's screen. */
const openPartsMax = 6;

/** Of a longer list: the last one before the next instalment, that one, and three after it. */
const shownAround = { before: 1, after: 4 } as const;

export function partList(view: PlanView, spoken: Spoken): Html {
  const { parts } = view;
  const next = parts.findIndex(({ state }) => state !== "paid" && state !== "cancelled");
  // Without one, the latest are shown.
  const at = next < 0 ? parts.length : next;
  const from =
    parts.length <= openPartsMax ? 0 : Math.max(0, Math.min(at - shownAround.before, parts.length - openPartsMax));
  const to = parts.length <= openPartsMax ? parts.length : Math.max(at + shownAround.after, from + openPartsMax - 1);
  const list = (some: readonly PartView[]): Html =>
    html`<ol class="parts">${some.map((part) => row(part, view, spoken))}</ol>`;
  const folded = (some: readonly PartView[], label: string): Html | false => {
    const count = new Intl.NumberFormat(spoken.locale).format(some.length);
    return some.length > 0 && html`<details><summary>${fillIn(label, { count })}</summary>${list(some)}</details>`;
  };
  const { earlier, later, payments } = spoken.plan;
  return html`<h2 class="heading">${payments}</h2>
${folded(parts.slice(0, from), earlier)}
${list(parts.slice(from, to))}
${folded(parts.slice(to), later)}`;
}

function row(part: PartView, view: PlanView, spoken: Spoken): Html {
  const { n, state, amountMinor } = part;
  return html`<li class="part ${state}"><span class="mark" aria-hidden="true">${mark(part, new Intl.NumberFormat(spoken.locale).format(n))}</span>
<span class="when">${whenText(part, view, spoken)}</span> <span class="price">${moneyOf(amountMinor, view.currency, spoken)}</span>
${noteOf(part, view, spoken)}</li>`;
}

const marks: Partial<Record<PartView["state"], Icon>> = { paid: "check", cancelled: "cross" };

function mark({ state }: PartView, number: string): Html | string {
  const icon = marks[state];
  return icon ? html`<svg viewBox="0 0 24 24" focusable="false"><path d="${iconPath(icon)}"/></svg>` : number;
}

const whenText = ({ dueAt }: PartView, { timeZone }: PlanView, spoken: Spoken): string =>
  dayOf(dueAt, timeZone, spoken);

/** When an instalment is due. */
export function dueText(part: PartView, view: PlanView, spoken: Spoken): string {
  return part.state === "dueToday"
    ? spoken.plan.dueToday
    : fillIn(spoken.plan.due, { date: whenText(part, view, spoken) });
}

/** Below the date: the state, and the receipt. Its page has what the payer received, for the browser that paid. */
function noteOf({ state, paidAt, receipt, path }: PartView, { timeZone }: PlanView, spoken: Spoken): Html | undefined {
  const { plan, sdk } = spoken;
  const texts: Partial<Record<PartView["state"], string | undefined>> = {
    paid: paidAt && fillIn(plan.paidOn, { date: dayOf(paidAt, timeZone, spoken) }),
    cancelled: plan.cancelled,
    inProgress: plan.inProgress[0],
    review: plan.review[0],
    overdue: plan.overdue,
    dueToday: plan.dueToday,
  };
  const text = texts[state];
  const code = receipt !== undefined && (path === undefined ? receipt : html`<a href="${path}">${receipt}</a>`);
  if (text === undefined) return undefined;
  return html`<p class="note"><span>${text}</span>${code && html` <span>${sdk.receipt} ${code}</span>`}</p>`;
}
