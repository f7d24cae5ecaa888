/** The scripts and the style that the pages of a payment link share. */
import { digitsFile, type FindAsset, keepAssets } from "../../http/static-files.ts";
import { printButtonFile, readStyle, resultsStyle } from "../../page/frame.ts";
import { type Html, html } from "../../page/html.ts";

const own = (name: string): URL => new URL(`./${name}`, import.meta.url);

/** The path of the page's scripts. */
export const pageFilesPath = "/checkout";

const scripts = ["memory.js", "pay-form.js", "provider-choice.js", "watch.js"];

export const findPageFile: FindAsset = keepAssets({
  ...digitsFile,
  ...printButtonFile,
  ...Object.fromEntries(scripts.map((name) => [name, own(name)])),
});

export const readOwnStyle = (name: string): string => readStyle(own(name));

export const checkoutStyle =
  ["checkout.css", "summary.css", "form.css", "state.css"].map(readOwnStyle).join("") + resultsStyle;

/** `root`: the node's root, relative to the page. */
export const script = (name: string, root: ".." | "../.." = ".."): Html =>
  html`<script type="module" src="${root}${pageFilesPath}/${name}"></script>`;

/** Loads a module that a script imports, without waiting for that script. */
export const preload = (name: string): Html => html`<link rel="modulepreload" href="..${pageFilesPath}/${name}">`;
