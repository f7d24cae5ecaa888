/** The frame of every page of a payment link: the shop's name above, its contact and the languages below. */
import { readFileSync } from "node:fs";
import { contactOf } from "../../../client-sdk/element/presentation.ts";
import { pageIcon } from "../../http/error-page.ts";
import { digitsFile, type FindAsset, keepAssets, socketOrigins } from "../../http/static-files.ts";
import type { Language } from "../../order/order.ts";
import type { ShopView } from "../page-view.ts";
import { brandStyle } from "./colour.ts";
import { attribute, type Html, html, trusted } from "./html.ts";
import type { Spoken } from "./language.ts";

const own = (name: string): URL => new URL(`./${name}`, import.meta.url);

/** The path of the page's scripts. */
export const pageFilesPath = "/checkout";

const scripts = ["memory.js", "pay-form.js", "print-button.js", "provider-choice.js", "watch.js"];

export const findPageFile: FindAsset = keepAssets({
  ...digitsFile,
  ...Object.fromEntries(scripts.map((name) => [name, own(name)])),
});

/** A style sheet, for the page itself: a request would delay the first picture by a round trip. */
export const readStyle = (name: string): string => readFileSync(own(name), "utf8").replace(/\n\s*/g, "\n");

const style = ["frame.css", "summary.css", "form.css", "state.css"].map(readStyle).join("");

/** `root`: the node's root, relative to the page. */
export const script = (name: string, root: ".." | "../.." = ".."): Html =>
  html`<script type="module" src="${root}${pageFilesPath}/${name}"></script>`;

/** Loads a module that a script imports, without waiting for that script. */
export const preload = (name: string): Html => html`<link rel="modulepreload" href="..${pageFilesPath}/${name}">`;

/** The names of the languages in themselves. */
const languageNames: Readonly<Record<Language, string>> = { en: "English", sw: "Kiswahili", bn: "বাংলা" };

/** What a page's policy depends on. */
export interface PageLook {
  shop: ShopView;
  /** Allows the page's styles. Of one answer. */
  nonce: string;
}

interface Page extends PageLook {
  lang: Language;
}

export interface DocumentOptions {
  spoken: Spoken;
  title: string;
  main: Html;
  /** Further elements of the head. */
  head?: Html;
}

/** The whole HTML document. */
export function documentOf({ shop, lang, nonce }: Page, options: DocumentOptions): string {
  const { spoken, title, main, head } = options;
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
<style nonce="${nonce}">${trusted(style + brandStyle(shop.colour))}</style>
${head}
</head>
<body>
<header class="shop">${logo(shop)}<p>${shop.name}</p></header>
${main}
<footer>${contact(shop, spoken)}${languages(lang, spoken)}</footer>
</body>
</html>`.html;
}

const logo = ({ logoUrl }: ShopView): Html | undefined =>
  logoUrl === undefined ? undefined : html`<img src="${logoUrl}" alt="" height="40" referrerpolicy="no-referrer">`;

function contact({ contact }: ShopView, { sdk }: Spoken): Html | undefined {
  const found = contactOf(sdk, { contact });
  return found && html`<p>${found.label} <a${attribute("href", found.href)}>${found.text}</a></p>`;
}

/** Relative addresses, so that the page keeps its path. */
const languages = (current: Language, { page }: Spoken): Html =>
  html`<nav aria-label="${page.language}">${Object.entries(languageNames).map(
    ([lang, name]) =>
      html`<a href="?lang=${lang}" lang="${lang}" hreflang="${lang}"${attribute("aria-current", lang === current && "true")}>${name}</a>`,
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
