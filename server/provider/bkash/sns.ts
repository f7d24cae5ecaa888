/**
 * Verifies the signatures of Amazon SNS messages. A certificate counts as Amazon's because TLS proves that it came from
 * Amazon's host.
 *
 * A message states the URL of its certificate, so an unauthenticated client chooses what the node fetches. The choice is
 * bounded (G12): only SNS's hosts and paths in the topic's region, 5 fetches a minute, one fetch per URL at a time, at most
 * 16 KiB and 3 s each. A failed fetch is not repeated for 30 s. Certificates are cached apart from failures, and a
 * certificate that verified a message may always be fetched again: so failing URLs cannot displace a working one. A
 * certificate never changes, because its URL contains its hash.
 *
 * Sources: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages" and "HTTP/HTTPS notification JSON
 * format"; aws/aws-js-sns-message-validator.
 */
import { verify, X509Certificate } from "node:crypto";
import { z } from "zod";
import type { Authenticity } from "../provider.ts";

export interface SnsOptions {
  /** Fetches a certificate in PEM; rejects if that fails. */
  fetchCertificate?: (url: URL) => Promise<string>;
  now?: () => Date;
  /** A monotonic clock. */
  nowMs?: () => number;
}

/** Checks the signature of an SNS message. Accepts any JSON; never rejects. */
export type VerifySns = (message: unknown) => Promise<Authenticity>;

const signature = {
  SignatureVersion: z.enum(["1", "2"]),
  // 172 base64 characters, because Amazon's RSA keys have at least 1,024 bits. A shorter placeholder causes no fetch.
  Signature: z.base64().min(172),
  SigningCertURL: z.string(),
};

const common = { Message: z.string(), MessageId: z.string(), Timestamp: z.string(), TopicArn: z.string() };

/** The two types of message that the node accepts. */
const signedMessage = z.discriminatedUnion("Type", [
  z.object({ Type: z.literal("Notification"), Subject: z.string().nullish(), ...common, ...signature }),
  z.object({
    Type: z.literal("SubscriptionConfirmation"),
    SubscribeURL: z.string(),
    Token: z.string(),
    ...common,
    ...signature,
  }),
]);

type SignedMessage = z.infer<typeof signedMessage>;

/** The signed fields in their order: names and values, each on a line; `Subject` only if the message has one. */
const signedFields = {
  Notification: ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
  SubscriptionConfirmation: ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
} as const;

const algorithms = { 1: "RSA-SHA1", 2: "RSA-SHA256" } as const;

export function createSnsVerifier({
  fetchCertificate = fetchPem,
  now = () => new Date(),
  nowMs = () => performance.now(),
}: SnsOptions = {}): VerifySns {
  const certificates = createCertificateCache(fetchCertificate, nowMs);

  return async (given) => {
    const message = signedMessage.safeParse(given).data;
    const url = message && readCertificateUrl(message.SigningCertURL);
    if (!message || !url || regionOfHost(url) !== regionOfTopic(message.TopicArn)) return "unsigned";
    const certificate = await certificates.get(url);
    if (!certificate) return "unknown";
    const isSigned = isSignedBy(certificate, message, now());
    if (isSigned) certificates.markProven(url);
    return isSigned ? "signed" : "unsigned";
  };
}

function isSignedBy(certificate: X509Certificate, message: SignedMessage, at: Date): boolean {
  const { validFromDate, validToDate, publicKey } = certificate;
  if (at < validFromDate || at > validToDate || publicKey.asymmetricKeyType !== "rsa") return false;
  const { SignatureVersion, Signature } = message;
  return verify(
    algorithms[SignatureVersion],
    Buffer.from(signedText(message)),
    publicKey,
    Buffer.from(Signature, "base64"),
  );
}

/** The text that the signature covers. */
export function signedText(message: Pick<SignedMessage, "Type"> & Record<string, unknown>): string {
  const present = signedFields[message.Type].filter((name) => (message[name] ?? undefined) !== undefined);
  return present.map((name) => `${name}\n${message[name]}\n`).join("");
}

/**
 * A region such as `ap-southeast-1` or `us-gov-west-1`. Not `s3-us-west-2`, because there `sns` would be a bucket, which
 * anybody can own.
 */
const snsHost = /^sns\.[a-z]{2}(-[a-z]+){1,3}-\d{1,2}\.amazonaws\.com(\.cn)?$/;

/** A URL of SNS, or undefined. The pattern is anchored: `sns.us-east-1.amazonaws.com.evil.example` is not Amazon's. */
export function readSnsUrl(text: string): URL | undefined {
  const url = URL.parse(text);
  if (url?.protocol !== "https:" || !snsHost.test(url.hostname)) return undefined;
  return url.port === "" && url.username === "" && url.password === "" ? url : undefined;
}

const regionOfHost = ({ hostname }: URL): string | undefined => hostname.split(".")[1];

/** `arn:<partition>:sns:<region>:<account>:<name>` */
const regionOfTopic = (arn: string): string | undefined => arn.split(":")[3];

const certificatePath = /^\/SimpleNotificationService-[\w-]{1,64}\.pem$/;

function readCertificateUrl(text: string): URL | undefined {
  const url = readSnsUrl(text);
  return url && certificatePath.test(url.pathname) && url.search === "" && url.hash === "" ? url : undefined;
}

/** 16, because Amazon uses one certificate per region at a time, for a year. */
const keptMax = 16;

/** Fetches that failed or are in flight. */
const triedMax = 64;

/** URLs whose certificate verified a message; enough for several years. */
const provenMax = 16;

const fetchesPerMinuteMax = 5;

const retryMs = 30_000;

interface Tried {
  certificate: Promise<X509Certificate | undefined>;
  /** When a failed fetch may be repeated. */
  retryAtMs: number;
}

interface CertificateCache {
  /** Undefined if the certificate is not available now. */
  get(url: URL): Promise<X509Certificate | undefined>;
  /** Records that the certificate verified a message: the limit of fetches does not apply to its URL. */
  markProven(url: URL): void;
}

function createCertificateCache(
  fetchCertificate: (url: URL) => Promise<string>,
  nowMs: () => number,
): CertificateCache {
  const kept = new Map<string, X509Certificate>();
  const tried = new Map<string, Tried>();
  const proven = new Map<string, true>();
  let minute = { sinceMs: Number.NEGATIVE_INFINITY, fetches: 0 };

  const mayFetch = (url: URL): boolean => {
    if (proven.has(url.href)) return true;
    if (nowMs() - minute.sinceMs >= 60_000) minute = { sinceMs: nowMs(), fetches: 0 };
    minute.fetches += 1;
    return minute.fetches <= fetchesPerMinuteMax;
  };

  const startFetch = (url: URL): Tried => {
    const entry: Tried = { certificate: Promise.resolve(undefined), retryAtMs: Number.POSITIVE_INFINITY };
    const fetched = fetchCertificate(url).then((pem) => new X509Certificate(pem));
    entry.certificate = fetched.then(
      (certificate) => {
        tried.delete(url.href);
        keepLast(kept, url.href, certificate, keptMax);
        return certificate;
      },
      () => {
        entry.retryAtMs = nowMs() + retryMs;
        return undefined;
      },
    );
    return entry;
  };

  return {
    async get(url) {
      const certificate = kept.get(url.href);
      if (certificate) {
        keepLast(kept, url.href, certificate, keptMax);
        return certificate;
      }
      const known = tried.get(url.href);
      const isUsable = known !== undefined && nowMs() < known.retryAtMs;
      if (!isUsable && !mayFetch(url)) return undefined;
      const entry = isUsable ? known : startFetch(url);
      keepLast(tried, url.href, entry, triedMax);
      return entry.certificate;
    },
    markProven(url) {
      keepLast(proven, url.href, true, provenMax);
    },
  };
}

/** Moves the entry to the end, so that the least recently used entry is removed first. */
function keepLast<Value>(map: Map<string, Value>, key: string, value: Value, max: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (oldest !== undefined && map.size > max) map.delete(oldest);
}

const certificateMsMax = 3_000;
const certificateBytesMax = 16_384;

/** Throws if the certificate is late, too large, missing, or behind a redirect. */
export async function fetchPem(url: URL): Promise<string> {
  const { ok, status, body } = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(certificateMsMax) });
  let pem = "";
  for await (const chunk of body ?? []) {
    pem += Buffer.from(chunk).toString("latin1");
    if (pem.length > certificateBytesMax) throw new Error("the certificate is too large");
  }
  if (!ok) throw new Error(`no certificate (HTTP ${status})`);
  return pem;
}
