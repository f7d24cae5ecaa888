/** The mail to the merchant about what needs a person: one for all subjects of a kind. */
import type { Language, Reason } from "../../order/order.ts";
import { dateOf, displayNameOf, moneyOf } from "../../page/format.ts";
import { html } from "../../page/html.ts";
import { fillIn, sdkWordsOf } from "../../page/language.ts";
import type { ShopView } from "../../page/shop.ts";
import { notificationWordsOf } from "../language.ts";
import type { AlertKind, AlertWords } from "../words.ts";
import * as layout from "./layout.ts";

/** One subject of an alert, and the facts about it. */
export interface AlertEntry {
  /** An order's id, an endpoint's URL, a provider's name, or the name of an invariant. */
  subject: string;
  at: Date;
  /** Of an order. `paidMinor` only if it differs. */
  money?: { amountMinor: number; paidMinor?: number | undefined; currency: string };
  reason?: Reason | undefined;
  /** Of a provider. */
  calls?: { failed: number; total: number };
}

export interface Alert {
  kind: AlertKind;
  /** All subjects since the last mail of the kind, also those without an entry. */
  count: number;
  entries: readonly AlertEntry[];
  /** All of them are payments that move no money. */
  isSandbox: boolean;
  /** The address is the sandbox's, because none is configured. */
  isDefaultAddress?: boolean;
}

export interface AlertMailOptions {
  shop: ShopView;
  lang: Language;
}

/** A mail names this many subjects, because a merchant with more looks at the list and not at the mail. */
const entriesMax = 10;

export function alertMail(alert: Alert, options: AlertMailOptions): layout.MailContent {
  const { kind, count, entries, isSandbox } = alert;
  const { lang } = options;
  // Without the contact, which is for payers.
  const { contact: _, ...shop } = options.shop;
  const { alert: words, testSubject } = notificationWordsOf(lang);
  const { one, many, text, advice } = words.kinds[kind];
  const number = new Intl.NumberFormat(lang);
  const title = fillIn(count === 1 ? one : many, { count: number.format(count) });
  const line = layout.oneLine(`${title} – ${shop.name}`);
  const subject = isSandbox ? fillIn(testSubject, { subject: line }) : line;
  const rows = entries.slice(0, entriesMax).map((entry) => rowOf(entry, lang));
  const rest = count - rows.length;
  const more = rest > 0 ? fillIn(words.more, { count: number.format(rest) }) : undefined;
  const test = isSandbox ? sdkWordsOf(lang).test : undefined;
  const why = alert.isDefaultAddress ? words.whyDefault : words.why;
  const main = html`${test && layout.testNotice(test)}
${layout.heading(title, 24)}
${layout.paragraph(text)}
${layout.rowTable(rows, "items")}
${more && layout.paragraph(more, "muted")}
${layout.paragraph(advice)}`;
  return {
    subject,
    html: layout.mailDocument({ lang, shop, subject, main, notes: [why] }),
    text: layout.plainText([
      [test],
      [title, text],
      [...rows.map(({ label, note, value }) => [label, note, value].filter(Boolean).join(", ")), more],
      [advice],
      [shop.name, why],
    ]),
  };
}

function rowOf(entry: AlertEntry, lang: Language): layout.Row {
  const { subject, at, money } = entry;
  return {
    label: displayNameOf(subject)?.replace("\u2011", "-") ?? withoutQuery(subject),
    note: noteOf(entry, lang),
    value: dateOf(at.toISOString(), money?.currency ?? "", { locale: lang }),
  };
}

/** An endpoint's URL without its query, which may have a secret. Other subjects as they are. */
const withoutQuery = (subject: string): string => subject.replace(/^(https?:\/\/[^?#]*)[?#].*$/s, "$1");

/** The facts of a subject in a few words. */
function noteOf({ money, reason, calls }: AlertEntry, lang: Language): string | undefined {
  const { alert: words } = notificationWordsOf(lang);
  const spoken = { locale: lang };
  if (calls) {
    const number = new Intl.NumberFormat(lang);
    return fillIn(words.failedCalls, { failed: number.format(calls.failed), total: number.format(calls.total) });
  }
  const amount = money && moneyOf(money.amountMinor, money.currency, spoken);
  if (money?.paidMinor !== undefined && amount !== undefined) {
    return fillIn(words.mismatch, { paid: moneyOf(money.paidMinor, money.currency, spoken), amount });
  }
  return [amount, reasonText(reason, words)].filter((one) => one !== undefined).join(", ") || undefined;
}

const reasonText = (reason: Reason | undefined, words: AlertWords): string | undefined =>
  reason === "receipt_reused"
    ? words.receiptReused
    : reason === "currency_mismatch"
      ? words.currencyMismatch
      : undefined;
