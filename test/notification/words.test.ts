/** The texts of receipts and alerts in all languages. */
import { describe, expect, it } from "vitest";
import { notificationWordsOf } from "../../server/notification/language.ts";
import { languages } from "../../server/order/order.ts";

/** The texts by their path. */
function textsOf(value: object, path = ""): Record<string, string> {
  return Object.assign(
    {},
    ...Object.entries(value).map(([key, inner]: [string, unknown]) =>
      typeof inner === "object" && inner !== null
        ? textsOf(inner, `${path}${key}.`)
        : { [`${path}${key}`]: String(inner) },
    ),
  );
}

const placeholdersOf = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).toSorted();

/** What stays as it is in every language: calls and variables. */
const namesOf = (text: string): string[] =>
  (text.match(/(GET|POST|PATCH) \/v1\/[\w/:]+|[A-Z]+_[A-Z]+/g) ?? []).toSorted();

describe("words of notifications", () => {
  const english = textsOf(notificationWordsOf("en"));

  it.each(languages)("have the same placeholders and names as the English ones: %s", (lang) => {
    const texts = textsOf(notificationWordsOf(lang));
    const shapeOf = (all: Record<string, string>) =>
      Object.fromEntries(Object.entries(all).map(([key, text]) => [key, [placeholdersOf(text), namesOf(text)]]));
    expect(Object.keys(english).length).toBeGreaterThan(40);
    expect(shapeOf(texts)).toEqual(shapeOf(english));
  });

  it.each(languages)("have no hyphen that does not break, which fonts of mail programs lack: %s", (lang) => {
    expect(Object.values(textsOf(notificationWordsOf(lang))).filter((text) => text.includes("\u2011"))).toEqual([]);
  });
});
