/**
 * Signatures of Amazon SNS messages. The signing certificate is Amazon's because TLS says that it came from Amazon's host.
 *
 * A message names the address of its certificate, so the address decides what a stranger can make us fetch: only SNS's own
 * hosts and paths in the topic's own region, 5 a minute, each once at a time, up to 16 KiB and 3 s. What was fetched is kept
 * apart from what failed, which is not tried again for 30 s; what signed a message before is known, however many addresses
 * failed since. A certificate's address contains a hash of it, so a certificate never changes.
 *
 * Facts: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages" and "HTTP/HTTPS notification JSON
 * format"; aws/aws-js-sns-message-validator.
 */
import { verify, X509Certificate } from "node:crypto";
import { z } from "zod";
import type { Authenticity } from "../provider.ts";

export interface SnsOptions {
  /** Fetches a certificate in PEM; rejects when it cannot be had. */
  fetchCertificate?: (url: URL) => Promise<string>;
  now?: () => Date;
  /** Any clock that only moves forward. */
  nowMs?: () => number;
}

/** Says what an SNS message's signature is worth. Takes any JSON; never rejects. */
export type VerifySns = (message: unknown) => Promise<Authenticity>;

const signature = {
  SignatureVersion: z.enum(["1", "2"]),
  // No RSA key that Amazon ever signed with is shorter than 1,024 bits. A placeholder causes no fetch.
  Signature: z.base64().min(172),
  SigningCertURL: z.string(),
};

const common = { Message: z.string(), MessageId: z.string(), Timestamp: z.string(), TopicArn: z.string() };

/** Only these types are signed over these fields, and we take no others. */
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

/** What is signed, in this order: names and values, each on a line; `Subject` only where the message has one. */
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
  const certificates = keepCertificates(fetchCertificate, nowMs);

  return async (given) => {
    const message = signedMessage.safeParse(given).data;
    const url = message && readCertificateUrl(message.SigningCertURL);
    if (!message || !url || regionOfHost(url) !== regionOfTopic(message.TopicArn)) return "unsigned";
    const certificate = await certificates.at(url);
    if (!certificate) return "unknown";
    const isSigned = isSignedBy(certificate, message, now());
    if (isSigned) certificates.prove(url);
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

/** What a message's signature is over. */
export function signedText(message: Pick<SignedMessage, "Type"> & Record<string, unknown>): string {
  const present = signedFields[message.Type].filter((name) => (message[name] ?? undefined) !== undefined);
  return present.map((name) => `${name}\n${message[name]}\n`).join("");
}

/**
 * A region as in `ap-southeast-1` or `us-gov-west-1`. Not `s3-us-west-2`: below that name, a host is a bucket of whoever
 * was first to take its name.
 */
const snsHost = /^sns\.[a-z]{2}(-[a-z]+){1,3}-\d{1,2}\.amazonaws\.com(\.cn)?$/;

/** An address of SNS's, or undefined. Anchored: `sns.us-east-1.amazonaws.com.evil.example` is not Amazon's. */
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

/** Amazon has one certificate in a region at a time, for a year. */
const keptMax = 16;

/** Of those that failed or are under way. */
const triedMax = 64;

/** Addresses whose certificate has signed a message: those of several years. */
const provenMax = 16;

const fetchesPerMinuteMax = 5;

const retryMs = 30_000;

interface Tried {
  certificate: Promise<X509Certificate | undefined>;
  /** From when a failed fetch is tried again. */
  retryAtMs: number;
}

interface Certificates {
  /** Undefined when it cannot be had now. */
  at(url: URL): Promise<X509Certificate | undefined>;
  /** Its certificate has signed a message: it may be fetched again whatever others have failed. */
  prove(url: URL): void;
}

function keepCertificates(fetchCertificate: (url: URL) => Promise<string>, nowMs: () => number): Certificates {
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
    async at(url) {
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
    prove(url) {
      keepLast(proven, url.href, true, provenMax);
    },
  };
}

/** Last of all, so that the one that was used least recently is forgotten first. */
function keepLast<Value>(map: Map<string, Value>, key: string, value: Value, max: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (oldest !== undefined && map.size > max) map.delete(oldest);
}

const certificateMsMax = 3_000;
const certificateBytesMax = 16_384;

/** Throws when the certificate is not there in time, is too large, or is somewhere else. */
export async function fetchPem(url: URL): Promise<string> {
  const { ok, status, body } = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(certificateMsMax) });
  let pem = "";
  for await (const chunk of body ?? []) {
    pem += Buffer.from(chunk).toString("latin1");
    if (pem.length > certificateBytesMax) throw new Error("The certificate is too large");
  }
  if (!ok) throw new Error(`There is no certificate (HTTP ${status})`);
  return pem;
}
