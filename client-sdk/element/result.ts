/** Turns a result into plain data. Uses no DOM and no clock. */
import type { Result } from "../protocol.ts";
import { timeOf } from "./presentation.ts";
import type { ResultWords } from "./result-words.ts";

/** The content of one result. A part that the result does not have is undefined. */
export interface ResultPresentation {
  id: string;
  title: string;
  code: string | undefined;
  /** The code is also shown as a QR code. */
  hasQr: boolean;
  text: string | undefined;
  url: string | undefined;
  /** Undefined for a URL that must not become a link. */
  link: { label: string; href: string } | undefined;
  /** Until when the result is valid, or when it expired. */
  until: string | undefined;
  isExpired: boolean;
}

export interface ResultOptions {
  words: ResultWords;
  locale: string;
  /** An IANA name. Default: the device's time zone. */
  timeZone: string | undefined;
  /** The server's time. NaN while it is unknown: then nothing has expired. */
  nowMs: number;
}

/** Presents a result of any kind, also of an unknown one, by the parts that it has. */
export function presentResult(
  { id, kind, title, code, url, text, expiresAt }: Result,
  options: ResultOptions,
): ResultPresentation {
  const { words, nowMs } = options;
  const isExpired = Date.parse(expiresAt ?? "") <= nowMs;
  const time = expiresAt && timeOf(expiresAt, options);
  return {
    id,
    title,
    code: code || undefined,
    hasQr: kind === "ticket" && Boolean(code),
    text: text || undefined,
    url: url || undefined,
    link: url ? linkTo(url, words) : undefined,
    until: time && (isExpired ? words.expired : words.validUntil).replace("{time}", time),
    isExpired,
  };
}

/** https, and http on the visitor's own machine, which a merchant uses in development. The label names the host, so that the payer knows where it leads. */
function linkTo(url: string, { open }: ResultWords): ResultPresentation["link"] {
  try {
    const { protocol, host, hostname, href } = new URL(url);
    const isLocal = protocol === "http:" && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
    if (protocol !== "https:" && !isLocal) return undefined;
    return { label: open.replace("{host}", host), href };
  } catch {
    return undefined; // Not a URL: it is shown as text.
  }
}
