/** The facts of a receipt, as text in the payer's language. The mail, its plain text and the page show the same ones. */
import { presentResult, type ResultPresentation } from "../../client-sdk/element/result.ts";
import { resultWordsOf } from "../../client-sdk/element/result-words.ts";
import type { Item, Language, Result } from "../order/order.ts";
import { dateOf, displayNameOf, moneyOf, timeZoneOf } from "../page/format.ts";
import { fillIn, sdkWordsOf } from "../page/language.ts";
import { notificationWordsOf } from "./language.ts";

/** The paid order of a receipt. */
export interface Receipt {
  orderId: string;
  amountMinor: number;
  currency: string;
  description?: string;
  items?: readonly Item[];
  maskedPhone?: string;
  /** The provider's name in the registry. */
  provider: string;
  /** The provider's receipt of the money. */
  receipt?: string;
  paidAt: Date;
  /** No money moved. */
  isSandbox: boolean;
  results: readonly Result[];
}

export interface ReceiptItem {
  name: string;
  /** Such as `× 2`. Undefined for one piece. */
  times: string | undefined;
  amount: string;
}

export interface ReceiptFacts {
  amount: string;
  /** The notice of a test payment. */
  test: string | undefined;
  /** Undefined if it only repeats the name of the only item. */
  description: string | undefined;
  items: readonly ReceiptItem[];
  rows: readonly (readonly [label: string, value: string])[];
  results: readonly ResultPresentation[];
}

/** `now`: decides which results have expired. */
export function receiptFacts(receipt: Receipt, lang: Language, now: Date): ReceiptFacts {
  const { amountMinor, currency, description, items = [], isSandbox, results } = receipt;
  const spoken = { locale: lang };
  const number = new Intl.NumberFormat(lang);
  const resultOptions = {
    words: resultWordsOf(lang),
    locale: lang,
    timeZone: timeZoneOf(currency),
    nowMs: now.getTime(),
  };
  const isRepeated = items.length === 1 && items[0]?.name === description;
  return {
    amount: moneyOf(amountMinor, currency, spoken),
    test: isSandbox ? sdkWordsOf(lang).test : undefined,
    description: isRepeated ? undefined : description,
    items: items.map(({ name, quantity, unitAmountMinor }) => ({
      name,
      times: quantity === 1 ? undefined : `×\u00a0${number.format(quantity)}`,
      amount: moneyOf(quantity * unitAmountMinor, currency, spoken),
    })),
    rows: rowsOf(receipt, lang),
    results: results.map((result) => presentResult(result, resultOptions)),
  };
}

function rowsOf(
  { orderId, currency, maskedPhone, provider, receipt, paidAt }: Receipt,
  lang: Language,
): ReceiptFacts["rows"] {
  const { receipt: words } = notificationWordsOf(lang);
  // With a usual hyphen, because the fonts of mail clients may lack the one that does not break.
  const known = displayNameOf(provider)?.replace("\u2011", "-");
  const name = known ?? sdkWordsOf(lang).provider;
  // Capitalises "mobile money" at the start of a line. A name keeps its own first letter.
  const start = (text: string): string => (known ? text : text.charAt(0).toUpperCase() + text.slice(1));
  const rows: [string, string | undefined][] = [
    [words.order, orderId],
    [words.method, start(name)],
    [start(fillIn(words.receipt, { provider: name })), receipt],
    [words.phone, maskedPhone],
    [words.at, dateOf(paidAt.toISOString(), currency, { locale: lang })],
  ];
  return rows.filter((row): row is [string, string] => row[1] !== undefined);
}
