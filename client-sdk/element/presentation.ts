/** Turns a snapshot into plain data: words, icon and action. Uses no DOM and no clock. */
import { formatMoney } from "../money.ts";
import type { StatusEvent } from "../protocol.ts";
import { providerNames } from "../provider-name.ts";
import type { Snapshot } from "../snapshot.ts";
import type { Countdown } from "./countdown.ts";
import { nationalPhone } from "./phone.ts";
import type { PhraseKey, Words } from "./words.ts";

/** The kind of state, shown by a colour and an icon. `neutral`: not paid, and nothing is wrong. */
export type Tone = "waiting" | "good" | "bad" | "neutral" | "caution";

export type Icon = "phone" | "check" | "cross" | "clock" | "eye" | "info";

/** The content of the element. */
export interface Presentation {
  tone: Tone;
  icon: Icon;
  title: string;
  text: string;
  /** Further advice to the payer. */
  help?: string | undefined;
  merchant?: string | undefined;
  item?: string | undefined;
  amount?: string | undefined;
  /** The notice of a test payment, in the sandbox. */
  test?: string | undefined;
  /** A link if it has an `href`, otherwise the button to try again. `isQuiet`: it must not look like the next step. */
  action?: { label: string; href?: string | undefined; isQuiet?: boolean } | undefined;
  contact?: { label: string; text: string; href: string | undefined } | undefined;
  detail: readonly (readonly [label: string, value: string])[];
  /** The label of the button that shares or prints the receipt. */
  save?: string | undefined;
  /** The state of the connection, if it is not open. */
  note?: string | undefined;
}

/** Facts that the page has and the order's state does not. */
export interface PageFacts {
  merchant?: string | undefined;
  item?: string | undefined;
  /** A phone number, an email address or a URL of the merchant, or any text. */
  contact?: string | undefined;
  /** The payer's number, in any form. */
  phone?: string | undefined;
  /** The address of the page to try again. */
  retryUrl?: string | undefined;
  /** The page listens to `tryagain`. */
  canTryAgain?: boolean;
  /** The browser can share a text. */
  canShare?: boolean;
}

export interface PresentationOptions {
  words: Words;
  locale: string;
  /** An IANA name. Default: the device's time zone. */
  timeZone?: string | undefined;
  /** Undefined while the server's time is unknown. */
  time?: Countdown | undefined;
  /** The device has no network. */
  isOffline?: boolean;
  page?: PageFacts;
}

/** 20 s, because a prompt usually arrives within 10 s. */
const promptMsMax = 20_000;

/** 30 s, because a payment that the payer has just approved may arrive that much later. */
const lateMsMax = 30_000;

const signs: Record<string, readonly [Tone, Icon]> = {
  pending: ["waiting", "phone"],
  processing: ["waiting", "phone"],
  succeeded: ["good", "check"],
  failed: ["bad", "cross"],
  "failed.cancelled": ["neutral", "cross"],
  "failed.insufficient_funds": ["neutral", "info"],
  "failed.busy": ["neutral", "info"],
  "failed.rejected": ["caution", "eye"],
  expired: ["caution", "clock"],
  review: ["caution", "eye"],
};

/** For an unknown status, or none. */
const unknownSign = (isOver: unknown): readonly [Tone, Icon] => (isOver ? ["caution", "eye"] : ["waiting", "clock"]);

/** Whether the payer has to act or wait. */
export const isWaiting = ({ event, error }: Snapshot): boolean => event !== undefined && !event.settled && !error;

/** Whether the payer may have approved a payment just before its time was up. So too while the server's time is unknown. */
export const mayBeLate = ({ event, error }: Snapshot, time: Countdown | undefined): boolean =>
  event?.status === "expired" && event.reason !== "no_response" && !error && !(time && time.sinceMs >= lateMsMax);

/** Presents a snapshot. */
export function presentationOf(snapshot: Snapshot, options: PresentationOptions): Presentation {
  const { event, error } = snapshot;
  if (!event || (error && !isLasting(snapshot))) return withoutState(snapshot, options);
  const { words, locale, time, page = {} } = options;
  const { status, settled, reason } = event;
  const [tone, icon] = signs[`${status}.${reason}`] ?? signs[status] ?? unknownSign(settled);
  // A non-breaking hyphen.
  const name = providerNames[event.payment.provider]?.replace("-", "\u2011");
  const provider = name ?? words.provider;
  const fill = (template: string): string => {
    const filled = fillIn(template, event, { provider, locale, phone: page.phone });
    // Capitalises a sentence that starts with the generic word. A name keeps its own first letter.
    return name ? filled : filled.charAt(0).toUpperCase() + filled.slice(1);
  };
  const isOffline = options.isOffline && !settled;
  const [title, text] = words.phrases[phraseKey(event, words, time)];
  const help = isOffline ? words.offline[1] : helpOf(snapshot, words, time);
  return {
    tone,
    icon,
    title: isOffline ? words.offline[0] : fill(title),
    text: fill(text),
    help: help && fill(help),
    merchant: page.merchant,
    item: page.item,
    // A long amount breaks after its currency, rather than inside the number.
    amount: formatMoney(event.amountMinor, event.currency, locale).replace("\u00a0", " "),
    test: event.live ? undefined : words.test,
    action: actionOf(snapshot, provider, options),
    contact: isUnclear(event) ? contactOf(words, page) : undefined,
    detail: detailOf(event, options),
    save: saveOf(event, options),
    note: isOffline ? undefined : noteOf(snapshot, words),
  };
}

const saveOf = ({ status }: StatusEvent, { words, page }: PresentationOptions): string | undefined => {
  if (status !== "succeeded") return undefined;
  return page?.canShare ? words.share : words.print;
};

/** Nothing newer than a success can arrive, so it needs no live connection after a refusal. */
function noteOf({ event, error, connection }: Snapshot, words: Words): string | undefined {
  if (error) return event?.status === "succeeded" ? undefined : words.stopped;
  return connection === "open" ? undefined : words.reconnecting;
}

/**
 * Whether a state holds though the server has refused the watch: a success is never taken back. Another settled state holds if
 * the server sent it to this watch, and is not only remembered.
 */
const isLasting = ({ event, skewMs }: Snapshot): boolean =>
  event?.status === "succeeded" || (event?.settled === true && skewMs !== undefined);

/** Whether the payer may have a question that only the merchant can answer. The money of a rejected payment may have arrived. */
const isUnclear = ({ status, reason, settled, alsoPaid }: StatusEvent): boolean =>
  status === "review" || reason === "rejected" || (settled && !signs[status]) || Boolean(alsoPaid?.length);

function withoutState({ error, connection }: Snapshot, options: PresentationOptions): Presentation {
  const { words, isOffline, page = {} } = options;
  const [title, text] = words.phrases[error ? "refused" : "connecting"];
  const [tone, icon] = unknownSign(error);
  const { merchant, item } = page;
  const base = { tone, icon, merchant, item, detail: [], contact: error && contactOf(words, page) };
  if (isOffline && !error) return { ...base, title: words.offline[0], text: words.offline[1] };
  return { ...base, title, text, note: connection === "waiting" ? words.reconnecting : undefined };
}

/** Finds the most specific phrase. Unknown statuses and reasons get a general one. */
function phraseKey(
  { status, reason, settled, payment, alsoPaid }: StatusEvent,
  { phrases }: Words,
  time: Countdown | undefined,
): PhraseKey {
  if (!settled && time && time.elapsedMs >= time.totalMs) return "overdue";
  const detail = status === "succeeded" && alsoPaid?.length ? "paid_twice" : (reason ?? payment.action?.type);
  // Not `Object.hasOwn`, which Safari 14 lacks.
  const isKnown = (key: string): key is PhraseKey => Object.keys(phrases).includes(key);
  const keys = [`${status}.${detail}`, status, settled ? "unknown" : "processing"];
  return keys.find(isKnown) ?? "unknown";
}

/** The text for a prompt that has not arrived, or for a payer who may have approved too late. */
function helpOf(snapshot: Snapshot, words: Words, time: Countdown | undefined): string | undefined {
  if (mayBeLate(snapshot, time)) return words.mayBeLate;
  const isPrompted = snapshot.event?.status === "processing" && snapshot.event.payment.action?.type === "prompt";
  const isOverdue = time && time.elapsedMs >= time.totalMs;
  return isPrompted && time && time.sinceMs >= promptMsMax && !isOverdue ? words.noPrompt : undefined;
}

function fillIn(
  template: string,
  { payment, currency, amountMinor }: StatusEvent,
  { provider, locale, phone }: { provider: string; locale: string; phone: string | undefined },
): string {
  const { action, amountPaidMinor = amountMinor } = payment;
  const values: Record<string, string> = {
    provider,
    phone: action?.type === "prompt" ? nationalPhone(action.phone, phone) : "",
    paid: formatMoney(amountPaidMinor, currency, locale),
  };
  return template.replace(/\{(\w+)\}/g, (_whole, name: string) => values[name] ?? "");
}

function actionOf(
  snapshot: Snapshot,
  provider: string,
  { words, time, page = {} }: PresentationOptions,
): Presentation["action"] {
  const { event, error } = snapshot;
  if (!event || error) return undefined;
  const { status, reason, payment } = event;
  if (status === "failed" || status === "expired") {
    if (!page.retryUrl && !page.canTryAgain) return undefined;
    return { label: words.tryAgain, href: page.retryUrl, isQuiet: reason === "rejected" || mayBeLate(snapshot, time) };
  }
  const { action } = payment;
  // The URL may come from a provider, so only http and https become a link.
  if (status !== "processing" || action?.type !== "redirect" || !/^https?:\/\//i.test(action.url)) return undefined;
  return { label: words.goOn.replace("{provider}", provider), href: action.url };
}

/** The merchant's contact, as a link if it is an address. */
export function contactOf(
  words: Pick<Words, "contact">,
  { contact: text }: Pick<PageFacts, "contact">,
): Presentation["contact"] {
  if (!text) return undefined;
  const href = /^https?:\/\//i.test(text)
    ? text
    : /^\S+@\S+$/.test(text)
      ? `mailto:${text}`
      : /^\+?[\d\s()-]{5,}$/.test(text)
        ? `tel:${text.replace(/[^\d+]/g, "")}`
        : undefined;
  return { label: words.contact, text, href };
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

/** Without `dateStyle` and `timeStyle`, which Safari 14 and Firefox 78 ignore. */
const timeFormat = { year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit" } as const;

/** Formats a time in the page's time zone. Undefined if the time or the time zone is invalid. */
export function timeOf(
  iso: string,
  { locale, timeZone }: Pick<PresentationOptions, "locale" | "timeZone">,
): string | undefined {
  try {
    return new Intl.DateTimeFormat(locale, { ...timeFormat, timeZone }).format(new Date(iso));
  } catch {
    return undefined; // The caller leaves the time out.
  }
}
