/** Builds HTML. A value in a template is text, unless it is HTML that this file made. */

/** HTML that needs no escaping. */
export interface Html {
  readonly html: string;
}

type Value = Html | string | number | false | undefined | readonly Value[];

const escapeText = (text: string): string => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

function write(value: Value): string {
  if (value === undefined || value === false) return "";
  if (typeof value === "string" || typeof value === "number") return escapeText(String(value));
  return "html" in value ? value.html : value.map(write).join("");
}

/** Escapes the values. A list is written one after the other; `undefined` and `false` write nothing. */
export const html = (strings: TemplateStringsArray, ...values: readonly Value[]): Html => ({
  html: String.raw({ raw: strings }, ...values.map(write)),
});

/** Text that is HTML or CSS already. Never data. */
export const trusted = (text: string): Html => ({ html: text });

/** An attribute, or nothing if the value is `undefined` or `false`. */
export const attribute = (name: string, value: string | number | boolean | undefined): Html =>
  value === undefined || value === false ? trusted("") : value === true ? html` ${name}` : html` ${name}="${value}"`;
