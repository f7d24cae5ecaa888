/** Explains mistakes of a page to its developer, in the console. Loaded with the first one. */
import type { WatchErrorCode } from "../error.ts";

type Mistake = WatchErrorCode | "api_key";

const texts: { [code in Mistake]?: (element: HTMLElement) => string } = {
  attribute_missing: (element) =>
    `has no ${missingIn(element).join(", and no ")}. Its attributes are url, order-id and token.`,
  route_unknown: (element) =>
    `has the url "${element.getAttribute("url")}", where the server has no orders. Use the server's address, without "/v1".`,
  api_key: () =>
    "has a token that is no watch token. Never put the API key into a page: use `watchToken` from the answer to POST /v1/payments.",
};

/** The names of what the element needs and does not have. */
function missingIn(element: HTMLElement): string[] {
  const missing = [
    ...(element.hasAttribute("url") ? [] : ["url"]),
    ...(element.getAttribute("order-id") ? [] : ["order-id"]),
  ];
  // Without a token, the element needs the property.
  const { refreshToken } = element as { refreshToken?: unknown };
  return element.getAttribute("token") || refreshToken ? missing : [...missing, "token or refreshToken"];
}

export function explain(element: HTMLElement, code: Mistake): void {
  const text = texts[code]?.(element);
  if (text) console.error(`<order-status> ${text}`, element);
}
