/** What the page says about the state of a plan, and which instalment is next. */
import type { Icon } from "../../../client-sdk/element/presentation.ts";
import type { Phrase } from "../../../client-sdk/element/words.ts";
import { dayOf, moneyOf } from "../../page/format.ts";
import { fillIn } from "../../page/language.ts";
import type { PartView, PlanView } from "../page-view.ts";
import type { Spoken } from "./language.ts";

export interface Notice {
  tone: "neutral" | "waiting" | "good" | "caution";
  icon: Icon;
  title: string;
  text: string;
}

export interface Shown {
  /** Absent for a plan that is active, and whose payments are on time. */
  notice?: Notice;
  /** The first instalment that is owed, or whose payment is in progress. */
  next?: PartView;
}

export function presentPlan(view: PlanView, spoken: Spoken): Shown {
  const next = view.parts.find(({ state }) => state !== "paid" && state !== "cancelled");
  const notice = noticeOf(view, next, spoken);
  return { ...(notice && { notice }), ...(next && { next }) };
}

/** What the payer must know first: a payment that is in progress, then the end or a pause of the plan, then what is overdue. */
function noticeOf(view: PlanView, next: PartView | undefined, spoken: Spoken): Notice | undefined {
  const { plan } = spoken;
  if (next?.state === "inProgress") return phrased("waiting", "clock", plan.inProgress);
  if (next?.state === "review") return phrased("caution", "eye", plan.review);
  if (view.status === "completed") return phrased("good", "check", plan.completed);
  if (view.status === "cancelled") return phrased("neutral", "info", plan.ended);
  if (view.status === "paused") return phrased("neutral", "info", plan.paused);
  return overdueNotice(view, spoken);
}

const phrased = (tone: Notice["tone"], icon: Icon, [title, text]: Phrase): Notice => ({ tone, icon, title, text });

function overdueNotice({ parts, currency, timeZone }: PlanView, spoken: Spoken): Notice | undefined {
  const overdue = parts.filter(({ state }) => state === "overdue");
  const [first] = overdue;
  if (!first) return undefined;
  const { overdueOne, overdueMany } = spoken.plan;
  const [title, text] = overdue.length === 1 ? overdueOne : overdueMany;
  const amountMinor = overdue.reduce((sum, part) => sum + part.amountMinor, 0);
  const values = {
    date: dayOf(first.dueAt, timeZone, spoken),
    count: new Intl.NumberFormat(spoken.locale).format(overdue.length),
    amount: moneyOf(amountMinor, currency, spoken),
  };
  return { tone: "caution", icon: "clock", title, text: fillIn(text, values) };
}
