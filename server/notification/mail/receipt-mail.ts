/** The mail that a payer receives for a paid order. */
import { contactOf } from "../../../client-sdk/element/presentation.ts";
import type { ResultPresentation } from "../../../client-sdk/element/result.ts";
import { resultWordsOf } from "../../../client-sdk/element/result-words.ts";
import type { Language } from "../../order/order.ts";
import { type Html, html } from "../../page/html.ts";
import { fillIn, sdkWordsOf } from "../../page/language.ts";
import type { ShopView } from "../../page/shop.ts";
import { notificationWordsOf } from "../language.ts";
import { type Receipt, type ReceiptFacts, receiptFacts } from "../receipt-facts.ts";
import * as layout from "./layout.ts";

export interface ReceiptMailOptions {
  shop: ShopView;
  lang: Language;
  /** The address of the page to print. */
  receiptUrl: string;
  now: Date;
}

export function receiptMail(receipt: Receipt, options: ReceiptMailOptions): layout.MailContent {
  const { shop, lang, now } = options;
  const { receipt: words, testSubject } = notificationWordsOf(lang);
  const facts = receiptFacts(receipt, lang, now);
  const title = layout.oneLine(fillIn(words.subject, { shop: shop.name, amount: facts.amount }));
  const subject = receipt.isSandbox ? fillIn(testSubject, { subject: title }) : title;
  const notes = [words.notTax, words.why];
  return {
    subject,
    html: layout.mailDocument({ lang, shop, subject, main: mainOf(facts, options), notes }),
    text: textOf(facts, options, notes),
  };
}

function mainOf(facts: ReceiptFacts, { shop, lang, receiptUrl }: ReceiptMailOptions): Html {
  const { receipt: words } = notificationWordsOf(lang);
  const { amount, test, description, items, rows, results } = facts;
  const lines = items.map(({ name, times, amount: value }) => ({ label: name, note: times, value }));
  const total = { label: words.total, value: amount, isStrong: true };
  return html`${test && layout.testNotice(test)}
${layout.heading(amount, 30)}
${layout.paragraph(fillIn(words.thanks, { shop: shop.name }))}
${description && layout.paragraph(description, "muted")}
${items.length > 0 && layout.rowTable([...lines, total], "items")}
${layout.rowTable(
  rows.map(([label, value]) => ({ label, value })),
  "facts",
)}
${results.length > 0 && html`${layout.subheading(resultWordsOf(lang).heading)}${results.map((one) => resultBox(one, shop))}`}
${layout.button(words.open, receiptUrl, shop)}
${layout.paragraph(words.openHint, "muted")}`;
}

const resultBox = ({ title, until, code, text, url, link }: ResultPresentation, shop: ShopView): Html =>
  layout.box(html`${layout.boxTitle(title)}
${until && layout.paragraph(until, "muted", 4)}
${code && layout.codeLine(code)}
${text && layout.paragraph(text, "ink", 4)}
${link ? layout.link(link.label, link.href, shop) : url && layout.paragraph(url, "ink", 4)}`);

/** Each fact on a line of its own, in the order of the HTML. */
function textOf(facts: ReceiptFacts, options: ReceiptMailOptions, notes: readonly string[]): string {
  const { shop, lang, receiptUrl } = options;
  const { receipt: words } = notificationWordsOf(lang);
  const { amount, test, description, items, rows, results } = facts;
  const contact = contactOf(sdkWordsOf(lang), shop);
  const lines = items.map((item) => [item.name, item.times].filter(Boolean).join(" ").concat(`: ${item.amount}`));
  const sections: (string | undefined)[][] = [
    [test],
    [amount, fillIn(words.thanks, { shop: shop.name }), description],
    items.length > 0 ? [...lines, `${words.total}: ${amount}`] : [],
    rows.map(([label, value]) => `${label}: ${value}`),
    ...(results.length > 0 ? [[resultWordsOf(lang).heading]] : []),
    ...results.map((one) => resultLines(one, words.code)),
    [`${words.open}: ${receiptUrl}`, words.openHint],
    [contact && `${contact.label} ${contact.text}`, ...notes],
  ];
  return layout.plainText(sections);
}

const resultLines = (
  { title, until, code, text, url, link }: ResultPresentation,
  codeLabel: string,
): (string | undefined)[] => [
  title,
  until,
  code && `${codeLabel}: ${code}`,
  ...(text?.split("\n") ?? []),
  link?.href ?? url,
];
