/** The columns of lists in CSV. */
import type { Cell, Column } from "../http/csv.ts";
import type { DetailedOrder } from "../order/list.ts";
import type { ListedPayment } from "../order/payment-list.ts";
import { formatMinor, minorDigits } from "../provider/money.ts";

/** Minor units as they are in JSON, and as accountants read them: `15000` and `150.00`. */
const decimal = (minor: number | undefined, currency: string): string | undefined =>
  minor === undefined ? undefined : formatMinor(BigInt(minor), minorDigits(currency));

type Time = string | Date | null | undefined;

interface TimeColumn<Row> {
  name: string;
  at: (row: Row) => Time;
}

/** Each time in UTC and, with a time zone, as the clock there shows it. */
function timeColumns<Row>(times: readonly TimeColumn<Row>[], timeZone: string | undefined): Column<Row>[] {
  const utc = times.map(({ name, at }) => ({ name, value: (row: Row) => at(row) && isoOf(at(row)) }));
  if (timeZone === undefined) return utc;
  const clock = clockOf(timeZone);
  return [...utc, ...times.map(({ name, at }) => ({ name: `${name}Local`, value: (row: Row) => clock(at(row)) }))];
}

const isoOf = (at: Time): Cell => (at instanceof Date ? at.toISOString() : at);

/** Formats a time as `2026-11-20 23:59:31`, which spreadsheets read as a time. Swedish, because its form is that one. */
function clockOf(timeZone: string): (at: Time) => Cell {
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "medium" });
  return (at) => at && format.format(new Date(at));
}

const textOf = (customer: DetailedOrder["customer"], name: string): Cell => {
  const value = customer?.[name];
  return typeof value === "string" ? value : undefined;
};

/** One line for each order, with the payment that its state comes from. */
export const orderColumns = (timeZone: string | undefined): Column<DetailedOrder>[] => [
  { name: "orderId", value: ({ order }) => order.orderId },
  { name: "status", value: ({ order }) => order.status },
  { name: "reason", value: ({ order }) => order.reason },
  { name: "amountMinor", value: ({ order }) => order.amountMinor },
  { name: "amount", value: ({ order }) => decimal(order.amountMinor, order.currency) },
  { name: "currency", value: ({ order }) => order.currency },
  { name: "amountPaidMinor", value: ({ order }) => order.payment.amountPaidMinor },
  { name: "amountPaid", value: ({ order }) => decimal(order.payment.amountPaidMinor, order.currency) },
  { name: "live", value: ({ order }) => order.live },
  { name: "provider", value: ({ order }) => order.payment.provider },
  { name: "attempt", value: ({ order }) => order.payment.attempt },
  { name: "paymentId", value: ({ order }) => order.payment.id },
  { name: "receipt", value: ({ order }) => order.payment.receipt },
  { name: "alsoPaid", value: ({ order }) => order.alsoPaid?.join(" ") },
  { name: "description", value: ({ description }) => description },
  { name: "customerId", value: ({ customer }) => textOf(customer, "id") },
  { name: "customerName", value: ({ customer }) => textOf(customer, "name") },
  { name: "customerEmail", value: ({ customer }) => textOf(customer, "email") },
  { name: "customerPhone", value: ({ customer }) => textOf(customer, "phone") },
  ...timeColumns<DetailedOrder>(
    [
      { name: "openedAt", at: ({ order }) => order.openedAt },
      { name: "paidAt", at: ({ paidAt }) => paidAt },
      { name: "changedAt", at: ({ order }) => order.occurredAt },
    ],
    timeZone,
  ),
];

/** One line for each payment. */
export const paymentColumns = (timeZone: string | undefined): Column<ListedPayment>[] => [
  { name: "paymentId", value: ({ id }) => id },
  { name: "orderId", value: ({ orderId }) => orderId },
  { name: "attempt", value: ({ attempt }) => attempt },
  { name: "provider", value: ({ provider }) => provider },
  { name: "live", value: ({ live }) => live },
  { name: "status", value: ({ status }) => status },
  { name: "reason", value: ({ reason }) => reason },
  { name: "amountMinor", value: ({ amountMinor }) => amountMinor },
  { name: "amount", value: ({ amountMinor, currency }) => decimal(amountMinor, currency) },
  { name: "currency", value: ({ currency }) => currency },
  { name: "amountPaidMinor", value: ({ amountPaidMinor }) => amountPaidMinor },
  { name: "amountPaid", value: ({ amountPaidMinor, currency }) => decimal(amountPaidMinor, currency) },
  { name: "phone", value: ({ phone }) => phone },
  { name: "reference", value: ({ reference }) => reference },
  { name: "receipt", value: ({ receipt }) => receipt },
  ...timeColumns<ListedPayment>(
    [
      { name: "startedAt", at: ({ startedAt }) => startedAt },
      { name: "expiresAt", at: ({ expiresAt }) => expiresAt },
      { name: "paidAt", at: ({ paidAt }) => paidAt },
    ],
    timeZone,
  ),
];
