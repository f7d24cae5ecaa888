/** `tukio order`: prints an order with its payments and its history. */
import type { Order, PastEvent, Payment, Result } from "../model.ts";
import { checkOrderId } from "./arguments.ts";
import type { Command } from "./command.ts";
import { money, type Output, plain, statusText } from "./output.ts";

export const order: Command = {
  name: "order",
  summary: "Prints an order with its payments and its history",
  words: ["ORDER"],
  options: {},
  details: `ORDER is your id for the order. With --json it prints the answer of GET /v1/orders/ORDER.

Example:
  tukio order ORD-1001`,

  prepare(args) {
    const orderId = args.word(0);
    if (orderId) checkOrderId(args, "ORDER", orderId);
    return async ({ output, tukio, signal }) => {
      const found = await tukio.orders.read(orderId, { signal });
      output.json(found);
      for (const line of linesOf(found, output)) output.line(line);
      return 0;
    };
  },
};

function linesOf(found: Order, output: Output): string[] {
  const { order: state, payments, events } = found;
  const { amountMinor, currency, live, openedAt, results = [], alsoPaid = [] } = state;
  const facts: [string, string | null | undefined][] = [
    ["opened", timeText(openedAt)],
    ["description", found.description],
    ["customer", writtenText(found.customer)],
    ["items", found.items?.map(({ quantity, name }) => `${quantity} × ${name}`).join(", ")],
    ["metadata", writtenText(found.metadata)],
    ["also paid", alsoPaid.join(", ")],
  ];
  const { paint } = output;
  return [
    `${paint("bold", plain(state.orderId))}  ${money(amountMinor, currency)}  ${statusText(output, state)}${live ? "" : "  test payment, no money moves"}`,
    ...facts.flatMap(([name, text]) => (text ? `  ${paint("dim", name.padEnd(11))}  ${plain(text)}` : [])),
    "",
    paint("bold", "Payments"),
    ...payments.map((payment) => `  ${paymentText(payment, currency, output)}`),
    "",
    paint("bold", "History"),
    ...events.map((event, nth) => `  ${eventText(event, events[nth - 1], output)}`),
    ...(results.length > 0 ? ["", paint("bold", "Results"), ...results.map((one) => `  ${resultText(one)}`)] : []),
  ];
}

/** The parts that are there, two spaces apart. */
const joined = (...parts: (string | undefined | false)[]): string => parts.filter(Boolean).join("  ");

function paymentText(
  { attempt, provider, phone, receipt, reference, ...payment }: Payment,
  currency: string,
  output: Output,
) {
  const { amountPaidMinor, startedAt } = payment;
  return joined(
    `${attempt}.`,
    timeText(startedAt),
    plain(provider),
    statusText(output, payment),
    amountPaidMinor !== undefined && `paid ${money(amountPaidMinor, currency)}`,
    phone && plain(phone),
    receipt && `receipt ${plain(receipt)}`,
    reference && output.paint("dim", `reference ${plain(reference)}`),
  );
}

function eventText(event: PastEvent, before: PastEvent | undefined, output: Output): string {
  const { version, occurredAt, source, note, payment } = event;
  const sinceMs = before ? Date.parse(occurredAt) - Date.parse(before.occurredAt) : 0;
  return joined(
    `v${version}`,
    timeText(occurredAt),
    output.paint("dim", before ? `+${sinceText(sinceMs)}` : ""),
    statusText(output, event),
    source && `by ${plain(source)}`,
    `attempt ${payment.attempt}`,
    note && `“${plain(note)}”`,
  );
}

const resultText = ({ id, kind, title, code, url, text, expiresAt }: Result): string =>
  joined(
    plain(id),
    plain(kind),
    `“${plain(title)}”`,
    code && plain(code),
    url && plain(url),
    text && plain(text),
    expiresAt && `until ${timeText(expiresAt)}`,
  );

/** `2026-11-20 21:00:00 UTC` */
const timeText = (time: string): string => plain(time.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC"));

function sinceText(ms: number): string {
  if (ms < 1_000) return `${ms} ms`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

/** `name=Asha  email=asha@example.com` */
const writtenText = (written: Record<string, unknown> | null): string | undefined =>
  written
    ? Object.entries(written)
        .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
        .join("  ")
    : undefined;
