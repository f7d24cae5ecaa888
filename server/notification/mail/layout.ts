/**
 * The HTML of mails. Gmail removes what it does not know, and Outlook for Windows renders with Word: tables instead of flex and grid,
 * inline styles, and no file but the shop's logo. The classes only give the dark scheme to clients that have it.
 */
import { contactOf } from "../../../client-sdk/element/presentation.ts";
import type { Language } from "../../order/order.ts";
import { type BrandColours, brandColours, type Scheme, schemes } from "../../page/colour.ts";
import { attribute, type Html, html, trusted } from "../../page/html.ts";
import { sdkWordsOf } from "../../page/language.ts";
import type { ShopView } from "../../page/shop.ts";

/** One mail, without its addresses. `html` and `text` state the same. */
export interface MailContent {
  /** One line. */
  subject: string;
  html: string;
  text: string;
}

/** Text without line breaks, because a subject is one line and a line of plain text states one fact. */
export const oneLine = (text: string): string => text.replace(/[\s\p{Cc}]+/gu, " ").trim();

const { ink, muted, paper, card, line, caution } = schemes.light;

const font = "-apple-system,'Segoe UI',Roboto,'Noto Sans','Noto Sans Bengali',Arial,sans-serif";

/** Word would show Times for a list of fonts whose first one is missing. */
const outlook = trusted(`<!--[if mso]>
<xml><o:OfficeDocumentSettings xmlns:o="urn:schemas-microsoft-com:office:office"><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings></xml>
<style>table{border-collapse:collapse}td,p,h1,h2,a,span{font-family:'Segoe UI',Arial,sans-serif!important}</style>
<![endif]-->`);

/** The properties of each class in the dark scheme. */
function darkRules({ brand, brandInk, edge, accent }: BrandColours): [name: string, declarations: string][] {
  const dark = schemes.dark;
  return [
    ["m-page", `background:${dark.paper}!important`],
    ["m-card", `background:${dark.card}!important;border-color:${dark.line}!important`],
    ["m-ink", `color:${dark.ink}!important`],
    ["m-muted", `color:${dark.muted}!important`],
    ["m-line", `border-color:${dark.line}!important`],
    ["m-accent", `color:${accent}!important`],
    ["m-caution", `color:${dark.caution}!important;border-color:${dark.caution}!important`],
    ["m-bar", `background:${brand}!important`],
    ["m-button", `background:${brand}!important;border-color:${edge}!important;color:${brandInk}!important`],
  ];
}

/** `[data-ogsc]` and `[data-ogsb]` are what Outlook on the web and on phones sets in its dark mode. */
function darkStyle(brand: BrandColours): Html {
  const rules = darkRules(brand);
  const media = rules.map(([name, declarations]) => `.${name}{${declarations}}`).join("");
  const outlookWeb = rules.map(([name, declarations]) => `[data-ogsc] .${name},[data-ogsb] .${name}{${declarations}}`);
  return trusted(
    `<style>:root{color-scheme:light dark;supported-color-schemes:light dark}@media (prefers-color-scheme:dark){${media}}${outlookWeb.join("")}</style>`,
  );
}

export interface MailDocument {
  lang: Language;
  shop: ShopView;
  subject: string;
  main: Html;
  /** Small text below the card. */
  notes: readonly string[];
}

export const brandOf = ({ colour }: ShopView, scheme: Scheme = "light"): BrandColours => brandColours(colour, scheme);

/** The whole HTML document. */
export function mailDocument({ lang, shop, subject, main, notes }: MailDocument): string {
  const { brand } = brandOf(shop);
  return html`<!doctype html>
<html lang="${lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<meta name="format-detection" content="telephone=no, date=no, address=no, email=no, url=no">
<meta name="x-apple-disable-message-reformatting">
<title>${subject}</title>
${outlook}
${darkStyle(brandOf(shop, "dark"))}
</head>
<body class="m-page" style="margin:0;padding:0;background:${paper}">
<div role="article" aria-roledescription="email" lang="${lang}">
${table(
  "100%",
  html`<tr><td class="m-page" align="center" style="padding:24px 12px;background:${paper}">
${trusted('<!--[if mso]><table role="presentation" width="560" cellpadding="0" cellspacing="0"><tr><td><![endif]-->')}
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="max-width:560px;word-break:break-word">
<tr><td style="padding:0 4px 16px">${shopHead(shop)}</td></tr>
<tr><td class="m-bar" height="4" style="height:4px;font-size:0;line-height:0;background:${brand}">&nbsp;</td></tr>
<tr><td class="m-card" style="padding:24px 20px;border:1px solid ${line};border-top:0;background:${card}">
${main}
</td></tr>
<tr><td style="padding:16px 4px 0">${contactLine(shop, lang)}${notes.map((note) => small(note))}</td></tr>
</table>
${trusted("<!--[if mso]></td></tr></table><![endif]-->")}
</td></tr>`,
)}
</div>
</body>
</html>`.html;
}

/** A table for the layout, which screen readers do not announce. */
const table = (width: string, rows: Html): Html =>
  html`<table role="presentation" width="${width}" cellpadding="0" cellspacing="0" border="0">${rows}</table>`;

function shopHead({ name, logoUrl }: ShopView): Html {
  const text = html`<td class="m-ink" valign="middle" style="${type(17, ink, "font-weight:600")}">${name}</td>`;
  const logo =
    logoUrl !== undefined &&
    html`<td valign="middle" style="padding-right:12px"><img src="${logoUrl}" alt="" height="40" style="display:block;height:40px;width:auto;max-width:128px;border:0;border-radius:6px;background:#ffffff"></td>`;
  return html`<table role="presentation" cellpadding="0" cellspacing="0" border="0"><tr>${logo}${text}</tr></table>`;
}

const type = (sizePx: number, colour: string, more = ""): string =>
  `font-family:${font};font-size:${sizePx}px;line-height:1.5;color:${colour};${more}`;

const small = (text: string): Html => html`<p class="m-muted" style="${type(14, muted, "margin:0 0 8px")}">${text}</p>`;

function contactLine(shop: ShopView, lang: Language): Html | undefined {
  const found = contactOf(sdkWordsOf(lang), shop);
  if (!found) return undefined;
  const { label, text, href } = found;
  const address =
    href === undefined ? text : html`<a class="m-muted"${attribute("href", href)} style="color:${muted}">${text}</a>`;
  return html`<p class="m-muted" style="${type(14, muted, "margin:0 0 8px")}">${label} ${address}</p>`;
}

/** The heading of the mail. `sizePx`: larger for an amount. */
export const heading = (text: string, sizePx: number): Html =>
  html`<h1 class="m-ink" style="${type(sizePx, ink, "margin:0 0 8px;font-weight:700;line-height:1.25")}">${text}</h1>`;

export const subheading = (text: string): Html =>
  html`<h2 class="m-ink" style="${type(16, ink, "margin:24px 0 8px;font-weight:600")}">${text}</h2>`;

/** `text` may have several lines. `gapPx`: below it. */
export const paragraph = (text: string, look: "ink" | "muted" = "ink", gapPx = 12): Html =>
  html`<p class="m-${look}" style="${type(16, look === "ink" ? ink : muted, `margin:0 0 ${gapPx}px`)}">${text.split("\n").map((one, index) => (index === 0 ? one : html`<br>${one}`))}</p>`;

/** The notice that no money moves. */
export const testNotice = (text: string): Html =>
  html`<p class="m-caution" style="${type(14, caution, `margin:0 0 16px;padding:4px 12px;border:1px dashed ${caution};font-weight:600;text-align:center`)}">${text}</p>`;

/** A row of two cells: a label or a name, and its value at the right. */
export interface Row {
  label: string;
  /** Beside the label, less important than it. */
  note?: string | undefined;
  value: string;
  isStrong?: boolean;
}

/** Short text stays on one line at 320 px, beside other short text. */
const isShort = (text: string): boolean => text.length <= 18;

export function rowTable(rows: readonly Row[], look: "facts" | "items"): Html {
  return html`<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="margin:12px 0">${rows.map((row) => rowOf(row, look))}
</table>`;
}

function rowOf({ label, note, value, isStrong }: Row, look: "facts" | "items"): Html {
  const [colour, name] = look === "facts" ? [muted, "m-muted"] : [ink, "m-ink"];
  const cell = `padding:8px 0;border-top:1px solid ${line};${isStrong ? "font-weight:600;" : ""}`;
  const isNarrow = look === "facts" && isShort(label);
  const labelCell = isNarrow ? `${cell}white-space:nowrap;` : cell;
  return html`
<tr><td class="${name} m-line"${attribute("width", isNarrow && "1%")} valign="top" style="${type(15, colour, labelCell)}">${label}${note && html` <span class="m-muted" style="color:${muted}">${note}</span>`}</td><td class="m-ink m-line" align="right" valign="top" style="${type(15, ink, `${cell}padding-left:16px;${isShort(value) ? "white-space:nowrap;" : ""}`)}">${value}</td></tr>`;
}

/** A link as a button. Word ignores the padding of a link, so its cell has it there. */
export function button(label: string, href: string, shop: ShopView): Html {
  const { brand, brandInk, edge } = brandOf(shop);
  const padding = "padding:14px 24px";
  return html`<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="margin:24px 0 8px"><tr><td class="m-button" align="center" bgcolor="${brand}" style="border:1px solid ${edge};border-radius:8px;background:${brand};mso-padding-alt:14px 24px"><a class="m-button" href="${href}" target="_blank" style="${type(17, brandInk, `display:block;${padding};border-radius:8px;background:${brand};font-weight:600;text-decoration:none`)}">${label}</a></td></tr></table>`;
}

/** A framed part of the mail. */
export const box = (content: Html): Html =>
  html`<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="margin:0 0 12px"><tr><td class="m-line" style="padding:12px 16px;border:1px solid ${line};border-radius:8px">${content}</td></tr></table>`;

export const boxTitle = (text: string): Html =>
  html`<p class="m-ink" style="${type(16, ink, "margin:0 0 4px;font-weight:600")}">${text}</p>`;

export const codeLine = (code: string): Html =>
  html`<p class="m-ink" style="margin:8px 0;font-family:Consolas,Menlo,'Noto Sans Mono',monospace;font-size:20px;line-height:1.4;font-weight:600;color:${ink};text-align:center">${code}</p>`;

export const link = (label: string, href: string, shop: ShopView): Html =>
  html`<p style="${type(16, ink, "margin:0")}"><a class="m-accent" href="${href}" target="_blank" style="color:${brandOf(shop).accent}">${label}</a></p>`;

/** Sections of lines, with an empty line between them. Lines and sections without text are left out. */
export function plainText(sections: readonly (readonly (string | undefined)[])[]): string {
  const written = sections.map((lines) => lines.flatMap((one) => (one ? oneLine(one) : [])).join("\n"));
  return `${written.filter((section) => section !== "").join("\n\n")}\n`;
}
