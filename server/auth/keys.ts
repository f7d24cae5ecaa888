/**
 * Everything derived from TUKIO_SECRET. Each purpose has a key of its own (HKDF-SHA256), so what opens one thing opens
 * no other. The first secret makes, all of them open: secrets rotate by putting a new one in front.
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

/** As a key object: of a buffer, every HMAC would make one anew, at five times its own cost. */
const deriveKey = (secret: string, purpose: string): KeyObject =>
  createSecretKey(Buffer.from(hkdfSync("sha256", secret, "tukio", purpose, 32)));

/** The secret part of the URL that a provider is given for one payment. */
export interface UrlSecrets {
  /** Hex: the payment's uuid, then 16 bytes of HMAC. */
  seal(provider: string, paymentId: string): string;
  /** The payment's id, or undefined when the secret is not ours for this provider. Needs no database. */
  open(provider: string, secret: string): string | undefined;
}

/** `purpose` separates kinds of URL: a webhook's secret does not open a return address. */
export function createUrlSecrets(secrets: readonly string[], purpose: "webhook" | "return"): UrlSecrets {
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
      const isOurs = keysFor(provider).some((key) => timingSafeEqual(mac(key, uuid), bytes.subarray(16)));
      return isOurs ? uuid.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5") : undefined;
    },
  };
}

export const deriveTokenKeys = (secrets: readonly string[]): KeyObject[] =>
  secrets.map((secret) => deriveKey(secret, "watch-token"));

/**
 * Makes the credentials of a provider that is the built-in sandbox: 64 hex digits for each of a
 * provider's variables, the same on every node with this secret. Only the first secret makes them: nothing outlives a
 * process that one of them would have to open.
 */
export function createSandboxSecrets(secrets: readonly string[]): (provider: string, variable: string) => string {
  const [secret] = secrets;
  if (secret === undefined) throw new Error("there is no secret to derive from");
  const key = deriveKey(secret, "sandbox");
  return (provider, variable) => createHmac("sha256", key).update(`${provider}:${variable}`).digest("hex");
}

/** Encrypts what rests in the database: AES-256-GCM; the provider's name is bound to the text. */
export interface Sealer {
  seal(text: string, provider: string): Buffer;
  /** The text, or undefined when it was sealed with a secret we no longer have. */
  open(sealed: Buffer, provider: string): string | undefined;
}

export function createSealer(secrets: readonly string[]): Sealer {
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
      for (const key of keys) {
        const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, 12), { authTagLength: 16 });
        decipher.setAAD(Buffer.from(provider)).setAuthTag(sealed.subarray(12, 28));
        try {
          return Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()]).toString("utf8");
        } catch {
          // Not sealed with this key: an older or newer secret may fit.
        }
      }
      return undefined;
    },
  };
}

/** Compares without telling by time where two strings differ. */
export const isSame = (left: string, right: string): boolean => timingSafeEqual(digestOf(left), digestOf(right));

const digestOf = (text: string): Buffer => hash("sha256", text, "buffer");
