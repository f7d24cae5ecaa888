/** Turns a snapshot into plain data: words, icon and action. Uses no DOM and no clock. */
import { formatMoney } from "../money.ts";
import type { StatusEvent } from "../protocol.ts";
import { providerNames } from "../provider-name.ts";
import type { Snapshot } from "../snapshot.ts";
import type { PhraseKey, Words } from "./words.ts";

/** The kind of state, shown by a colour and an icon. */
export type Tone = "waiting" | "good" | "bad" | "caution";

export type Icon = "phone" | "check" | "cross" | "clock" | "eye";

/** The content of the element. */
export interface Presentation {
  tone: Tone;
  icon: Icon;
  title: string;
  text: string;
  amount?: string | undefined;
  /** The notice of a test payment, in the sandbox. */
  test?: string | undefined;
  /** A link if it has an `href`, otherwise the button to try again. */
  action?: { label: string; href?: string } | undefined;
  detail: readonly (readonly [label: string, value: string])[];
  /** The state of the connection, if it is not open. */
  note: string | undefined;
}

export interface PresentationOptions {
  words: Words;
  locale: string;
  /** An IANA name. Default: the device's time zone. */
  timeZone?: string | undefined;
  /** The time to pay is over, but the order has not settled. */
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

/** For an unknown status, or none. */
const unknownSign = (isOver: unknown): readonly [Tone, Icon] => (isOver ? ["caution", "eye"] : ["waiting", "clock"]);

/** Presents a snapshot. */
export function presentationOf({ event, error, connection }: Snapshot, options: PresentationOptions): Presentation {
  const { words } = options;
  if (!event) {
    const [title, text] = words.phrases[error ? "refused" : "connecting"];
    const [tone, icon] = unknownSign(error);
    return { tone, icon, title, text, detail: [], note: connection === "waiting" ? words.reconnecting : undefined };
  }
  const [tone, icon] = signs[event.status] ?? unknownSign(event.settled);
  // A non-breaking hyphen.
  const name = providerNames[event.payment.provider]?.replace("-", "\u2011");
  const provider = name ?? words.provider;
  const [title, text] = words.phrases[phraseKey(event, words, options.isOverdue)];
  const fill = (template: string): string => {
    const filled = fillIn(template, event, provider, options.locale);
    // Capitalises a sentence that starts with the generic word. A name keeps its own first letter.
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

/** Finds the most specific phrase. Unknown statuses and reasons get a general one. */
function phraseKey(
  { status, reason, settled, payment, alsoPaid }: StatusEvent,
  { phrases }: Words,
  isOverdue = false,
): PhraseKey {
  if (!settled && isOverdue) return "overdue";
  const detail = status === "succeeded" && alsoPaid?.length ? "paid_twice" : (reason ?? payment.action?.type);
  const isKnown = (key: string): key is PhraseKey => Object.hasOwn(phrases, key);
  const keys = [`${status}.${detail}`, status, settled ? "unknown" : "processing"];
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
  // The URL may come from a provider, so only http and https become a link.
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
    return undefined; // The time or the time zone is invalid: the row is left out.
  }
}
