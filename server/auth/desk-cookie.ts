/**
 * The cookie of a desk's session. It acts for the merchant only in requests of the desk's own page: browsers send it with no request of
 * another site (`SameSite=Strict`), and the node ignores it in requests of other origins of the same site.
 */
import type { IncomingHttpHeaders } from "node:http";

/** `publicUrl`: `PUBLIC_URL`, if it is set. */
export interface CookieSettings {
  readonly publicUrl?: string | undefined;
}

const isSecure = ({ publicUrl }: CookieSettings): boolean => publicUrl !== undefined && /^https:/i.test(publicUrl);

/** With the prefix `__Host-` browsers accept the cookie only from this host, so that no subdomain can plant a session. */
const nameOf = (settings: CookieSettings): string => (isSecure(settings) ? "__Host-tukio_desk" : "tukio_desk");

const attributes = (settings: CookieSettings): string[] => [
  "Path=/",
  "HttpOnly",
  "SameSite=Strict",
  ...(isSecure(settings) ? ["Secure"] : []),
];

/** The value of `Set-Cookie` that stores the token for `seconds`. */
export const storeCookie = (settings: CookieSettings, token: string, seconds: number): string =>
  [`${nameOf(settings)}=${token}`, `Max-Age=${Math.floor(seconds)}`, ...attributes(settings)].join("; ");

/** The value of `Set-Cookie` that removes the token. */
export const clearCookie = (settings: CookieSettings): string => storeCookie(settings, "", 0);

/** The token in a request. */
export function tokenInCookie(settings: CookieSettings, { cookie }: IncomingHttpHeaders): string | undefined {
  const name = nameOf(settings);
  const pairs = (cookie ?? "").split(";").map((pair) => pair.trim());
  return pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1) || undefined;
}

/**
 * Whether the desk's own page sends the request. Browsers state it in `Sec-Fetch-Site`, older ones in `Origin`, which a page cannot set.
 * A GET may lack both, because it changes nothing, and no page of another origin can read its answer.
 */
export function isOwnPage({ publicUrl }: CookieSettings, method: string, headers: IncomingHttpHeaders): boolean {
  const { origin, "sec-fetch-site": site, host } = headers;
  const isSafe = method === "GET" || method === "HEAD";
  if (origin !== undefined && !isOwnOrigin(origin, { publicUrl, host })) return false;
  // `none`: a person has entered the address.
  if (site !== undefined) return site === "same-origin" || (site === "none" && isSafe);
  return origin !== undefined || isSafe;
}

function isOwnOrigin(
  origin: string,
  { publicUrl, host }: { publicUrl?: string | undefined; host?: string | undefined },
) {
  if (publicUrl !== undefined && origin === new URL(publicUrl).origin) return true;
  return URL.parse(origin)?.host === host;
}
