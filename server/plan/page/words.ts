/** The texts of a plan's page. The compiler checks that every language has all of them. */
import type { Phrase } from "../../../client-sdk/element/words.ts";

export interface PlanWords {
  /** These three say when an instalment is owed. Contains `{date}`. */
  due: string;
  dueToday: string;
  overdue: string;
  /** Contains `{date}`. */
  paidOn: string;
  cancelled: string;
  /** States of the plan. */
  completed: Phrase;
  ended: Phrase;
  paused: Phrase;
  /** Contains `{date}`. */
  overdueOne: Phrase;
  /** Contains `{count}` and `{amount}`. */
  overdueMany: Phrase;
  /** States of the instalment that is next. */
  inProgress: Phrase;
  review: Phrase;
  /** The link to a payment in progress. */
  see: string;
  /** The form for several instalments: its summary, its label and its button. */
  several: string;
  howMany: string;
  /** A choice of it. Contains `{date}`, `{count}` and `{amount}`. */
  option: string;
  goOn: string;
  /** No provider takes the amount. */
  tooMuch: string;
  /** Contains `{paid}` and `{total}`. */
  progress: string;
  /** Contains `{paid}`. */
  progressWithoutTotal: string;
  /** Contains `{amount}`. */
  left: string;
  /** The heading of the instalments. */
  payments: string;
  /** The summaries of folded lists. Contain `{count}`. */
  earlier: string;
  later: string;
  unknown: Phrase;
}
