/** What a snapshot looks like, as plain data: which words, which sign, what can be done. No DOM, no clock. */
import { formatMoney } from "../money.ts";
import type { StatusEvent } from "../protocol.ts";
import { providerNames } from "../provider-name.ts";
import type { Snapshot } from "../snapshot.ts";
import type { PhraseKey, Words } from "./words.ts";

/** The colour and the sign that say it before any word is read. */
export type Tone = "waiting" | "good" | "bad" | "caution";

export type Icon = "phone" | "check" | "cross" | "clock" | "eye";

/** What the element shows. */
export interface Presentation {
  tone: Tone;
  icon: Icon;
  title: string;
  text: string;
  amount?: string | undefined;
  /** In the sandbox. */
  test?: string | undefined;
  /** With an address: a link to it; without one: a button, to try again. */
  action?: { label: string; href?: string } | undefined;
  detail: readonly (readonly [label: string, value: string])[];
  /** About the connection, not the payment. */
  note: string | undefined;
}

export interface PresentationOptions {
  words: Words;
  locale: string;
  /** An IANA name; default: the device's. */
  timeZone?: string | undefined;
  /** The time to pay is over although the order is not settled. */
  isOverdue?: boolean;
}

const signs: Record<string, readonly [Tone, Icon]> = {
  pending: ["waiting", "phone"],
  processing: ["waiting", "phone"],
  succeeded: ["good", "check"],
  failed: ["bad", "cross"],
  expired: ["caution", "clock"],
  review: ["caution", "eye"],
};

/** Where there is no status, or none that we know. */
const unknownSign = (isOver: unknown): readonly [Tone, Icon] => (isOver ? ["caution", "eye"] : ["waiting", "clock"]);

/** The face of a snapshot. */
export function presentationOf({ event, error, connection }: Snapshot, options: PresentationOptions): Presentation {
  const { words } = options;
  if (!event) {
    const [title, text] = words.phrases[error ? "refused" : "connecting"];
    const [tone, icon] = unknownSign(error);
    return { tone, icon, title, text, detail: [], note: connection === "waiting" ? words.reconnecting : undefined };
  }
  const [tone, icon] = signs[event.status] ?? unknownSign(event.settled);
  // The hyphen is one that no line breaks at.
  const name = providerNames[event.payment.provider]?.replace("-", "\u2011");
  const provider = name ?? words.provider;
  const [title, text] = words.phrases[phraseKey(event, words, options.isOverdue)];
  const fill = (template: string): string => {
    const filled = fillIn(template, event, provider, options.locale);
    // A sentence begins with a capital, unless with a name that does not.
    return name ? filled : filled.charAt(0).toUpperCase() + filled.slice(1);
  };
  return {
    tone,
    icon,
    title: fill(title),
    text: fill(text),
    amount: formatMoney(event.amountMinor, event.currency, options.locale),
    test: event.live ? undefined : words.test,
    action: actionOf(event, words, provider),
    detail: detailOf(event, options),
    note: error ? words.stopped : connection === "open" ? undefined : words.reconnecting,
  };
}

/** The most particular phrase there is; statuses and reasons of the future get a general one. */
function phraseKey(
  { status, reason, settled, payment, alsoPaid }: StatusEvent,
  { phrases }: Words,
  isOverdue = false,
): PhraseKey {
  if (!settled && isOverdue) return "overdue";
  const particular = status === "succeeded" && alsoPaid?.length ? "paid_twice" : (reason ?? payment.action?.type);
  const isKnown = (key: string): key is PhraseKey => Object.hasOwn(phrases, key);
  const keys = [`${status}.${particular}`, status, settled ? "unknown" : "processing"];
  return keys.find(isKnown) ?? "unknown";
}

function fillIn(
  template: string,
  { payment, currency, amountMinor }: StatusEvent,
  provider: string,
  locale: string,
): string {
  const { action, amountPaidMinor = amountMinor } = payment;
  const values: Record<string, string> = {
    provider,
    phone: action?.type === "prompt" ? action.phone : "",
    paid: formatMoney(amountPaidMinor, currency, locale),
  };
  return template.replace(/\{(\w+)\}/g, (_whole, name: string) => values[name] ?? "");
}

function actionOf({ status, payment }: StatusEvent, words: Words, provider: string): Presentation["action"] {
  if (status === "failed" || status === "expired") return { label: words.tryAgain };
  const { action } = payment;
  // An address may come from a provider: only the web is linked to.
  if (status !== "processing" || action?.type !== "redirect" || !/^https?:\/\//i.test(action.url)) return undefined;
  return { label: words.goOn.replace("{provider}", provider), href: action.url };
}

function detailOf(
  { orderId, status, occurredAt, amountMinor, currency, payment }: StatusEvent,
  options: PresentationOptions,
): Presentation["detail"] {
  const { words, locale } = options;
  const { receipt, amountPaidMinor } = payment;
  const isOther = amountPaidMinor !== undefined && amountPaidMinor !== amountMinor;
  const rows: [string, string | undefined | false][] = [
    [words.receipt, receipt],
    [words.received, isOther && formatMoney(amountPaidMinor, currency, locale)],
    [words.order, orderId],
    [words.at, status === "succeeded" && timeOf(occurredAt, options)],
  ];
  return rows.filter((row): row is [string, string] => Boolean(row[1]));
}

function timeOf(iso: string, { locale, timeZone }: PresentationOptions): string | undefined {
  try {
    const format = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short", timeZone });
    return format.format(new Date(iso));
  } catch {
    return undefined; // A time or a zone that nobody can read is left out.
  }
}
