/**
 * The keys that are derived from TUKIO_SECRET. Each purpose has its own key (HKDF-SHA256), so that a secret for one purpose is
 * worthless for another. The first secret creates, all secrets verify. docs/operating.md has the order of a rotation.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hash,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";

/** Returns a key object, because an HMAC with a buffer creates one each time, at five times the HMAC's own cost. */
const deriveKey = (secret: string, purpose: string): KeyObject =>
  createSecretKey(Buffer.from(hkdfSync("sha256", secret, "tukio", purpose, 32)));

/** 16 hex digits identify a secret. Finding the secret from them takes as long as guessing it. */
export const fingerprintOf = (secret: string): string =>
  createHmac("sha256", deriveKey(secret, "fingerprint")).update("tukio secret").digest("hex").slice(0, 16);

/**
 * Fingerprints of settings for a comparison with other nodes, by the fingerprint of the secret that is their key: two nodes compare those
 * of a secret that both have. A value cannot be guessed from them without that secret.
 */
export function fingerprintSettings(
  secrets: readonly string[],
  settings: Readonly<Record<string, string>>,
): Record<string, Record<string, string>> {
  const prints = (key: KeyObject) =>
    Object.entries(settings).map(([name, value]) => [
      name,
      createHmac("sha256", key).update(`${name}=${value}`).digest("hex").slice(0, 16),
    ]);
  return Object.fromEntries(
    secrets.map((secret) => [fingerprintOf(secret), Object.fromEntries(prints(deriveKey(secret, "setting")))]),
  );
}

/** The kinds of text that a secret creates and that exist for longer than a request. */
export type SecretPurpose = "webhook" | "return" | "watch" | "token";

/** Called when a text was created with a secret that is not the first: the list still needs that secret. */
export type OnSecondarySecret = (purpose: SecretPurpose) => void;

/** The secret in the URL that a provider is given for one payment. */
export interface UrlSecrets {
  /** Returns hex: the payment's uuid, then 16 bytes of HMAC. */
  seal(provider: string, paymentId: string): string;
  /** Returns the payment's id, or undefined if this node's secrets did not create the secret for this provider. */
  open(provider: string, secret: string): string | undefined;
}

/** `purpose` separates kinds of URL: the secret of a webhook URL is not valid in a return URL. */
export function createUrlSecrets(
  secrets: readonly string[],
  purpose: "webhook" | "return",
  onSecondarySecret?: OnSecondarySecret,
): UrlSecrets {
  const keys = new Map<string, KeyObject[]>();

  const keysFor = (provider: string): KeyObject[] => {
    const known = keys.get(provider) ?? secrets.map((secret) => deriveKey(secret, `${purpose}:${provider}`));
    keys.set(provider, known);
    return known;
  };

  const mac = (key: KeyObject, uuid: Buffer): Buffer => createHmac("sha256", key).update(uuid).digest().subarray(0, 16);

  return {
    seal(provider, paymentId) {
      const uuid = Buffer.from(paymentId.replaceAll("-", ""), "hex");
      const [key] = keysFor(provider);
      if (!key) throw new Error("there is no secret to derive from");
      return Buffer.concat([uuid, mac(key, uuid)]).toString("hex");
    },

    open(provider, secret) {
      if (!/^[0-9a-f]{64}$/.test(secret)) return undefined;
      const bytes = Buffer.from(secret, "hex");
      const uuid = bytes.subarray(0, 16);
      const index = keysFor(provider).findIndex((key) => timingSafeEqual(mac(key, uuid), bytes.subarray(16)));
      if (index < 0) return undefined;
      if (index > 0) onSecondarySecret?.(purpose);
      return uuid.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
    },
  };
}

export const deriveTokenKeys = (secrets: readonly string[]): KeyObject[] =>
  secrets.map((secret) => deriveKey(secret, "watch-token"));

/**
 * Creates the credentials of sandbox accounts: 64 hex digits for each variable of a provider, the same on every node with this
 * secret. Only the first secret is used, because nothing that outlives the process depends on these credentials.
 */
export function createSandboxSecrets(secrets: readonly string[]): (provider: string, variable: string) => string {
  const [secret] = secrets;
  if (secret === undefined) throw new Error("there is no secret to derive from");
  const key = deriveKey(secret, "sandbox");
  return (provider, variable) => createHmac("sha256", key).update(`${provider}:${variable}`).digest("hex");
}

/** Proves to another process that this one has a secret in common with it. */
export interface NodeProof {
  of(text: string): string;
  isOf(proof: string | undefined, text: string): boolean;
}

export function createNodeProof(secrets: readonly string[]): NodeProof {
  const [first, ...others] = secrets.map((secret) => deriveKey(secret, "node-proof"));
  if (!first) throw new Error("there is no secret to derive from");
  const proofBy = (key: KeyObject, text: string): string => createHmac("sha256", key).update(text).digest("hex");
  return {
    of: (text) => proofBy(first, text),
    isOf: (proof, text) => proof !== undefined && [first, ...others].some((key) => isSame(proof, proofBy(key, text))),
  };
}

/** Encrypts access tokens in the database with AES-256-GCM. The provider's name is authenticated with the text. */
export interface Sealer {
  seal(text: string, provider: string): Buffer;
  /** Returns the text, or undefined if none of this node's secrets sealed it. */
  open(sealed: Buffer, provider: string): string | undefined;
}

export function createSealer(secrets: readonly string[], onSecondarySecret?: OnSecondarySecret): Sealer {
  const keys = secrets.map((secret) => deriveKey(secret, "credential"));

  return {
    seal(text, provider) {
      const [key] = keys;
      if (!key) throw new Error("there is no secret to derive from");
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(provider));
      const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), body]);
    },

    open(sealed, provider) {
      // A nonce, a tag and a text.
      if (sealed.length < 28) return undefined;
      for (const [index, key] of keys.entries()) {
        const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, 12), { authTagLength: 16 });
        decipher.setAAD(Buffer.from(provider)).setAuthTag(sealed.subarray(12, 28));
        try {
          const text = Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()]).toString("utf8");
          if (index > 0) onSecondarySecret?.("token");
          return text;
        } catch {
          // Another secret may have sealed it.
        }
      }
      return undefined;
    },
  };
}

/** Compares two strings in a time that does not depend on where they differ. */
export const isSame = (left: string, right: string): boolean => timingSafeEqual(digestOf(left), digestOf(right));

const digestOf = (text: string): Buffer => hash("sha256", text, "buffer");
