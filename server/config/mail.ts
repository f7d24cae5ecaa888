/** Reads the mail server and the addresses: `SMTP_URL`, `MAIL_FROM` and `MERCHANT_EMAIL`. */
import { z } from "zod";
import { reachOf } from "./host.ts";

export interface MailConfig {
  /** The mail server. */
  readonly smtp: {
    readonly host: string;
    readonly port: number;
    /** TLS from the first byte, rather than by STARTTLS. */
    readonly secure: boolean;
    readonly requireTLS: boolean;
    readonly auth?: { readonly user: string; readonly pass: string };
  };
  readonly from: MailAddress;
}

export interface MailAddress {
  readonly name: string;
  readonly address: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export interface MailSettings {
  mail?: MailConfig;
  /** The address that receives alerts. */
  merchantEmail?: string;
}

export interface MailRules {
  /** Whether a provider moves money. Alerts about such payments need the mail server. */
  hasLiveProvider: boolean;
  /** Every problem is added here. */
  problems: string[];
}

const address = z.email().max(254);

const isMailAddress = (text: string): boolean => address.safeParse(text).success;

export function readMail(env: Environment, { hasLiveProvider, problems }: MailRules): MailSettings {
  const { SMTP_URL: url = "", MAIL_FROM: from = "", MERCHANT_EMAIL: merchantEmail = "" } = env;
  const smtp = smtpOf(url);
  const sender = senderOf(from);
  const isPartial = [url, from].includes("") && (url !== from || (merchantEmail !== "" && hasLiveProvider));
  const found = [
    isPartial && url === "" && `SMTP_URL: is needed beside ${from === "" ? "MERCHANT_EMAIL" : "MAIL_FROM"}`,
    isPartial && url !== "" && "MAIL_FROM: is needed beside SMTP_URL",
    url !== "" &&
      !smtp &&
      "SMTP_URL: must be an smtp:// or smtps:// URL, such as smtps://user:password@mail.example.com",
    from !== "" && !sender && "MAIL_FROM: must be an address, such as Asha's Books <shop@example.com>",
    merchantEmail !== "" && !isMailAddress(merchantEmail) && "MERCHANT_EMAIL: must be one address",
  ].filter((problem) => problem !== false);
  problems.push(...found);
  if (found.length > 0) return {};
  return { ...(smtp && sender && { mail: { smtp, from: sender } }), ...(merchantEmail !== "" && { merchantEmail }) };
}

/** 587 is the port for programs that send (RFC 6409), 465 the same with TLS from the first byte (RFC 8314). */
const ports = { "smtp:": 587, "smtps:": 465 } as const;

/** Undefined if it is not the URL of a mail server. A server on another machine must offer TLS. */
function smtpOf(text: string): MailConfig["smtp"] | undefined {
  const url = URL.parse(text);
  if (!url || (url.protocol !== "smtp:" && url.protocol !== "smtps:") || url.hostname === "") return undefined;
  if (/[?#]/.test(text) || !/^\/?$/.test(url.pathname)) return undefined;
  const secure = url.protocol === "smtps:";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const auth = url.username === "" ? undefined : authOf(url);
  if (auth === null) return undefined;
  return {
    host,
    port: url.port === "" ? ports[url.protocol] : Number(url.port),
    secure,
    // A public name, because a mail and the password would cross the Internet unencrypted.
    requireTLS: !secure && reachOf(`http://${url.host}`) === "public",
    ...(auth && { auth }),
  };
}

/** Null for a user or a password that is not percent-encoded. */
function authOf({ username, password }: URL): { user: string; pass: string } | null {
  try {
    return { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  } catch {
    return null;
  }
}

/** `address`, or `name <address>`, perhaps with quotes around the name. */
function senderOf(text: string): MailAddress | undefined {
  const [, name = "", bracketed] = /^([^<>\p{Cc}]*)<([^<>\s]+)>$/u.exec(text.trim()) ?? [];
  const found = { name: name.trim().replace(/^"(.*)"$/, "$1"), address: bracketed ?? text.trim() };
  return isMailAddress(found.address) ? found : undefined;
}
