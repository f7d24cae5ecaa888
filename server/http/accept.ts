/** What a request accepts: a page or a problem document, and the language of a page. */
import type { FastifyRequest } from "fastify";

export const pageLanguages = ["en", "sw", "bn"] as const;

export type PageLanguage = (typeof pageLanguages)[number];

/** One item of an `Accept` header: a value such as `text/html`, and its weight from 0 to 1. */
interface Item {
  value: string;
  weight: number;
}

function itemsOf(header: string | undefined): Item[] {
  return (header ?? "").split(",").map((item) => {
    const [value = "", ...parameters] = item.split(";").map((part) => part.trim().toLowerCase());
    const weight = Number(parameters.find((one) => one.startsWith("q="))?.slice(2) ?? 1);
    return { value, weight: Number.isFinite(weight) ? weight : 0 };
  });
}

/** `*` alone is not a media range, and no browser sends it. Java sends `text/html, image/gif, image/jpeg, *; q=.2` by default. */
const isOfProgram = (items: readonly Item[]): boolean => items.some(({ value }) => value === "*");

const isJson = ({ value }: Item): boolean => /^application\/(?:[\w.+-]+\+)?json$/.test(value);

const isRange = ({ value }: Item): boolean => value === "*/*" || value === "application/*";

/**
 * Whether a browser opens this address as a page: it names `text/html` and prefers it to JSON. A range includes JSON. A program that accepts
 * everything, sends a credential or sends JSON gets JSON.
 */
export function acceptsPage({ headers, routeOptions }: FastifyRequest): boolean {
  const { accept, authorization, "sec-fetch-mode": mode = "navigate", "content-type": contentType = "" } = headers;
  if (authorization !== undefined || mode !== "navigate" || /json/i.test(contentType)) return false;
  if (routeOptions.config?.secure === false) return false;
  const items = itemsOf(accept);
  const page = items.find(({ value }) => value === "text/html")?.weight ?? 0;
  return (
    page > 0 &&
    !isOfProgram(items) &&
    items.every((item) => (isJson(item) ? item.weight < page : !isRange(item) || item.weight <= page))
  );
}

/** The preferred language of those that pages have: English if the request accepts none of them. */
export function languageOf(acceptLanguage: string | undefined): PageLanguage {
  const known = itemsOf(acceptLanguage).flatMap(({ value, weight }) => {
    const language = pageLanguages.find((one) => value === one || value.startsWith(`${one}-`));
    return language && weight > 0 ? [{ language, weight }] : [];
  });
  return known.reduce((best, one) => (one.weight > best.weight ? one : best), known[0] ?? english).language;
}

const english = { language: "en", weight: 0 } as const;
