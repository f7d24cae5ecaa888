import type { PlanWords } from "./words.ts";

export const english: PlanWords = {
  due: "Due on {date}",
  dueToday: "Due today",
  overdue: "Overdue",
  paidOn: "Paid on {date}",
  cancelled: "Cancelled",
  completed: ["Everything is paid", "Thank you. There is nothing left to pay."],
  ended: ["Plan cancelled", "The shop has cancelled this plan. You do not need to pay anything more."],
  paused: ["Plan paused", "The shop has paused this plan. You can pay now, but you do not have to."],
  overdueOne: ["Payment overdue", "It was due on {date}. Please pay it now."],
  overdueMany: ["Payments overdue", "{count} payments are overdue, {amount} in total. Pay the oldest one first."],
  inProgress: ["Payment in progress", "This is being paid now. Please do not pay again. The result shows here."],
  review: ["Being checked", "The shop is checking a payment. Please do not pay again."],
  see: "Show the payment",
  progress: "{paid} of {total} paid",
  progressWithoutTotal: "{paid} paid",
  left: "{amount} left",
  payments: "Payments",
  earlier: "Earlier payments ({count})",
  later: "Later payments ({count})",
  unknown: ["There is no such plan", "Check the address, or ask the shop for a new link."],
};
