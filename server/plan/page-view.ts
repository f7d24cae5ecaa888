/** The view of a plan's page. The routes make it, and `page/` renders it. Neither knows more about the other. */
import type { Language } from "../order/order.ts";
import type { ShopView } from "../page/shop.ts";
import type { PlanStatus } from "./row.ts";

/** An instalment that is owed is `overdue` from the day after its due date on. */
export type PartState = "paid" | "cancelled" | "inProgress" | "review" | "overdue" | "dueToday" | "later";

/** An instalment. */
export interface PartView {
  n: number;
  /** ISO 8601 UTC. */
  dueAt: string;
  amountMinor: number;
  state: PartState;
  /** The page on which it is paid, relative to the plan's page. Absent if this node cannot decrypt its token. */
  path?: string;
  /** ISO 8601 UTC. */
  paidAt?: string;
  /** The provider's receipt of the money. */
  receipt?: string;
}

export interface PlanView {
  shop: ShopView;
  lang: Language;
  status: PlanStatus;
  description?: string;
  currency: string;
  /** The calendar of its dates. */
  timeZone: string;
  paidMinor: number;
  /** Absent for an endless plan. */
  remainingMinor?: number;
  /** The number of its instalments. Absent for an endless plan. */
  count?: number;
  /** In the order of their numbers; of an endless plan the newest. */
  parts: readonly PartView[];
  /** Of the form for several instalments: the path of this page, with its query if it has one. */
  actionPath: string;
  /** The payer has chosen an amount that no provider takes. */
  isTooMuch?: boolean;
  /** No provider of the plan moves money. */
  isTest: boolean;
  /** The interval at which the page looks for a change. By default it depends on whether a payment is in progress. */
  refreshS?: number;
  /** Allows the page's styles in its Content Security Policy. Of one answer. */
  nonce: string;
}
