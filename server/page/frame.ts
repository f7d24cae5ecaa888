/** The frame of every page for payers: the shop's name above, its contact and the languages below. */
import { readFileSync } from "node:fs";
import { contactOf } from "../../client-sdk/element/presentation.ts";
import { pageIcon } from "../http/error-page.ts";
import { socketOrigins } from "../http/static-files.ts";
import type { Language } from "../order/order.ts";
import { brandStyle } from "./colour.ts";
import { attribute, type Html, html, trusted } from "./html.ts";
import { languageLabels, languageNames, sdkWordsOf } from "./language.ts";
import type { ShopView } from "./shop.ts";

/** Reads a style sheet, for the page itself: a request would delay the first picture by a round trip. */
export const readStyle = (at: URL): string => readFileSync(at, "utf8").replace(/\n\s*/g, "\n");

const frameStyle = readStyle(new URL("./frame.css", import.meta.url));

/** The style of `resultList`. */
export const resultsStyle = readStyle(new URL("./results.css", import.meta.url));

/** The button of a page to print. A page that uses it serves it beside its own scripts. */
export const printButtonFile = { "print-button.js": new URL("./print-button.js", import.meta.url) } as const;

/** The facts on which a page's policy depends. */
export interface PageLook {
  shop: ShopView;
  /** Allows the page's styles. Of one answer. */
  nonce: string;
}

export interface FramedPage extends PageLook {
  lang: Language;
}

export interface DocumentOptions {
  title: string;
  main: Html;
  /** The page's own style sheet. */
  style: string;
  /** Further elements of the head. */
  head?: Html;
  /** A parameter of the page's address that it keeps in another language. */
  keptParameter?: string | undefined;
}

/** The whole HTML document. */
export function documentOf({ shop, lang, nonce }: FramedPage, options: DocumentOptions): string {
  const { title, main, style, head, keptParameter } = options;
  return html`<!doctype html>
<html lang="${lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<meta name="format-detection" content="telephone=no">
<title>${title}</title>
${trusted(pageIcon)}
<style nonce="${nonce}">${trusted(frameStyle + style + brandStyle(shop.colour))}</style>
${head}
</head>
<body>
<header class="shop">${logo(shop)}<p>${shop.name}</p></header>
${main}
<footer>${contact(shop, lang)}${languages(lang, keptParameter)}</footer>
</body>
</html>`.html;
}

const logo = ({ logoUrl }: ShopView): Html | undefined =>
  logoUrl === undefined ? undefined : html`<img src="${logoUrl}" alt="" height="40" referrerpolicy="no-referrer">`;

function contact({ contact }: ShopView, lang: Language): Html | undefined {
  const found = contactOf(sdkWordsOf(lang), { contact });
  return found && html`<p>${found.label} <a${attribute("href", found.href)}>${found.text}</a></p>`;
}

/** Relative addresses, so that the page keeps its path. */
const languages = (current: Language, keptParameter?: string): Html =>
  html`<nav aria-label="${languageLabels[current]}">${Object.entries(languageNames).map(
    ([lang, name]) =>
      html`<a href="?lang=${lang}${keptParameter && `&${keptParameter}`}" lang="${lang}" hreflang="${lang}"${attribute("aria-current", lang === current && "true")}>${name}</a>`,
  )}</nav>`;

/** The Content Security Policy of the page: its own styles and scripts, the shop's logo, and requests to this host. */
export function pagePolicy({ shop, nonce }: PageLook, host: string): string {
  const logoOrigin = shop.logoUrl === undefined ? [] : [new URL(shop.logoUrl).origin];
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'nonce-${nonce}'`,
    ["img-src 'self' data:", ...logoOrigin].join(" "),
    ["connect-src 'self'", ...socketOrigins(host)].join(" "),
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
