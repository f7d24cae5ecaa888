/**
 * An order's history in sentences that a support person can read to a customer. Each event is the whole state, so a sentence
 * states what differs from the state before.
 */
import type { PastEvent, Payment, Status } from "../../merchant-sdk/model.ts";
import { money } from "./money.ts";
import { providerName } from "./provider.ts";
import { reasonText, statusLooks, type Tone } from "./status.ts";
import { duration } from "./time.ts";

export interface Sentence {
  text: string;
  /** How it is known. */
  source: string | undefined;
  tone: Tone;
}

interface Step {
  event: PastEvent;
  before: PastEvent | undefined;
  payment: Payment | undefined;
  provider: string;
}

/** One sentence for each event, in the order of the events. */
export function storyOf(events: readonly PastEvent[], payments: readonly Payment[]): Sentence[] {
  return events.map((event, index) => {
    const payment = payments.find(({ id }) => id === event.payment.id);
    const step: Step = { event, before: events[index - 1], payment, provider: providerName(event.payment.provider) };
    return { text: textOf(step), source: sourceOf(step), tone: toneOf(step) };
  });
}

function textOf(step: Step): string {
  const { event, before } = step;
  const isNewAttempt = before?.payment.id !== event.payment.id && event.status === "pending";
  if (isNewAttempt) return opened(step);
  if (event.source === "merchant") return resultChange(step);
  const isSame = before?.payment.id === event.payment.id || event.status === "succeeded";
  if (before?.status === event.status && isSame) return addition(step);
  return sentences[event.status]?.(step) ?? `The order became “${event.status}”.`;
}

const phoneOf = ({ event, payment }: Step): string => {
  const { action } = event.payment;
  return payment?.phone ?? (action?.type === "prompt" ? action.phone : "the payer's phone");
};

const amountOf = ({ event: { amountMinor, currency } }: Step): string => money(amountMinor, currency);

const paidOf = ({ event: { amountMinor, currency, payment } }: Step): string =>
  money(payment.amountPaidMinor ?? amountMinor, currency);

const receiptOf = ({ event: { payment } }: Step): string =>
  payment.receipt ? ` The receipt is ${payment.receipt}.` : "";

function opened(step: Step): string {
  const { event, provider, payment } = step;
  const whom = payment?.phone ? ` for the phone ${payment.phone}` : "";
  return event.payment.attempt === 1
    ? `The order was opened for ${amountOf(step)}, to be paid with ${provider}${whom}.`
    : `Attempt ${event.payment.attempt} was started with ${provider}${whom}.`;
}

const sentences: Readonly<Record<Status, (step: Step) => string>> = {
  pending: ({ provider }) => `${provider} has not answered the request yet.`,
  processing: (step) =>
    step.event.payment.action?.type === "redirect"
      ? `The payer was sent to the page of ${step.provider} to approve ${amountOf(step)}.`
      : `${step.provider} asked ${phoneOf(step)} to approve ${amountOf(step)}.`,
  expired: (step) =>
    step.event.reason === "no_response"
      ? "The payer did not answer the prompt. No money moved."
      : `No answer arrived within ${waited(step)}. As far as is known, no money moved.`,
  failed: (step) => failures[step.event.reason ?? ""]?.(step) ?? `The payment failed: ${reason(step)}. No money moved.`,
  review: (step) =>
    reviews[step.event.reason ?? ""]?.(step) ?? `The payment needs a person's decision: ${reason(step)}.`,
  succeeded: paid,
};

const reason = ({ event }: Step): string => (event.reason ? reasonText(event.reason).toLowerCase() : "no reason given");

const waited = ({ event }: Step): string =>
  duration(Date.parse(event.occurredAt) - Date.parse(event.payment.startedAt));

const failures: Readonly<Record<string, (step: Step) => string>> = {
  cancelled: () => "The payer cancelled on the phone. No money moved.",
  insufficient_funds: () => "The payer did not have enough money. No money moved.",
  wrong_pin: () => "The payer typed a wrong PIN. No money moved.",
  limit: () => "The payer has reached a limit of the account. No money moved.",
  busy: () => "Another prompt was already open on the payer's phone. No money moved.",
  declined: ({ provider }) => `${provider} declined the payment and gave no closer reason. No money moved.`,
  provider_error: ({ provider }) => `${provider} refused the request. The payer was not asked, and no money moved.`,
  rejected: ({ event }) =>
    event.source === "person"
      ? `A person rejected the payment${event.note ? `: “${event.note}”` : ""}.`
      : "The payment was stopped, because an earlier one had paid the order.",
};

const reviews: Readonly<Record<string, (step: Step) => string>> = {
  amount_mismatch: (step) =>
    step.event.payment.amountPaidMinor === undefined
      ? `${step.provider} reports an amount that cannot be read; ${amountOf(step)} was asked. A person must decide.`
      : `${step.provider} reports ${paidOf(step)}, but ${amountOf(step)} was asked. A person must decide.`,
  currency_mismatch: ({ provider, event }) =>
    `${provider} reports another currency than ${event.currency}. A person must decide.`,
  receipt_reused: ({ provider, event }) =>
    `${provider} reports the receipt ${event.payment.receipt ?? ""}, which belongs to another payment. A person must decide.`,
};

function paid(step: Step): string {
  const { event, provider } = step;
  if (event.source === "person") {
    const note = event.note ? `: “${event.note}”` : "";
    return `A person accepted the payment of ${paidOf(step)}${note}.${receiptOf(step)}`;
  }
  const late = event.reason === "late" ? ", after the attempt had already ended" : "";
  return `The payer paid ${paidOf(step)} with ${provider}${late}.${receiptOf(step)}`;
}

/** A change that keeps the status. */
function addition(step: Step): string {
  const { event, before, provider } = step;
  const isAnother = (event.alsoPaid?.length ?? 0) > (before?.alsoPaid?.length ?? 0);
  if (isAnother) return "Another attempt of this order was paid too: the payer has paid twice.";
  if (event.payment.receipt !== before?.payment.receipt)
    return `${provider} stated the receipt ${event.payment.receipt}.`;
  if (event.reason !== before?.reason) return `The payment was marked: ${reason(step)}.`;
  if (event.payment.amountPaidMinor !== before?.payment.amountPaidMinor)
    return `${provider} stated the amount ${paidOf(step)}.`;
  return sentences[event.status](step);
}

function resultChange({ event, before }: Step): string {
  const [now, then] = [event.results ?? [], before?.results ?? []];
  const added = now.find(({ id }) => !then.some((one) => one.id === id));
  if (added) return `The payer received “${added.title}”.`;
  const removed = then.find(({ id }) => !now.some((one) => one.id === id));
  return removed ? `“${removed.title}” was taken back from the payer.` : "What the payer received was changed.";
}

function sourceOf({ event, provider }: Step): string | undefined {
  const texts: Readonly<Record<string, string>> = {
    webhook: `reported by ${provider}`,
    query: `${provider} was asked`,
    reply: `answered by ${provider}`,
    clock: "time limit",
    person: "decided at the desk",
    payer: "the payer came back",
    merchant: "by your backend",
  };
  return event.source && texts[event.source];
}

function toneOf({ event }: Step): Tone {
  if (event.reason === "paid_twice") return "caution";
  return statusLooks[event.status]?.tone ?? "quiet";
}

/** What is certain about the money now, in one or two sentences. */
export function verdictOf(status: Status, reason: string | undefined): string {
  if (status === "succeeded" && reason === "paid_twice") return "Paid more than once. The payer is owed a refund.";
  return verdicts[status] ?? "";
}

const verdicts: Readonly<Record<Status, string>> = {
  pending: "The provider has not accepted the request yet. Whether money moves is not known.",
  processing: "The payer is being asked. No money has moved yet.",
  expired: "No money has moved, as far as is known. The payer may try again; late money would still be recorded.",
  failed: "No money has moved. The payer may try again.",
  review: "Money may have moved. Compare with the provider's statement, then decide.",
  succeeded: "The money has been received. This is never taken back.",
};
