/** Watch tokens: JWTs (HS256, algorithm pinned) that allow to watch one order, named by its uuid, and nothing else (G11). */
import { createHmac, type KeyObject } from "node:crypto";
import { errors, jwtVerify } from "jose";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { deriveTokenKeys, type OnSecondarySecret } from "./keys.ts";

/** The order that a token allows to watch. */
export interface Watchable {
  id: string;
  orderId: string;
  /** Seconds since 1970. */
  expiresAtS: number;
}

export interface WatchTokens {
  issue(order: { id: string; orderId: string }): { watchToken: string; watchTokenExpiresAt: string };
  /** Throws `token_invalid` or `token_expired`. */
  verify(token: string): Promise<Watchable>;
}

const audience = "tukio:watch";

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
const header = encode({ alg: "HS256" });

/** Caches the latest tokens, because each is verified for its request's budget, for its answer, and at its next long poll. */
const verifiedMax = 1_000;

/** Because an order's id may have 64 characters, and the token encodes it twice. */
const tokenLengthMax = 4_096;

/** The exact form of issued tokens, because lenient base64 would accept many spellings of one token. */
const tokenForm = /^[\w-]+\.[\w-]+\.[\w-]{43}$/;

const claims = z.object({ sub: z.uuid(), order: z.string(), exp: z.number() });

/** `ttlS`: a token's lifetime in seconds. The first secret signs, all secrets verify. Throws an Error if there is no secret. */
export function createWatchTokens(
  secrets: readonly string[],
  ttlS: number,
  onSecondarySecret?: OnSecondarySecret,
): WatchTokens {
  const derived = deriveTokenKeys(secrets);
  const [signingKey] = derived;
  if (!signingKey) throw new Error("there is no secret to derive from");
  // CryptoKeys, because jose would convert a key object for each token.
  const keys = derived.map((key) => key.toCryptoKey({ name: "HMAC", hash: "SHA-256" }, false, ["verify"]));
  const verified = new Map<string, Verified>();
  // Counts a cached token too, because the secret is needed as long as its tokens are used.
  const use = ({ watchable, isSecondary }: Verified): Watchable => {
    if (isSecondary) onSecondarySecret?.("watch");
    return watchable;
  };

  return {
    // Not signed with jose, which signs on another thread: the wait takes a fifth of the time of opening an order.
    issue({ id, orderId }) {
      const expiresAtS = Math.floor(Date.now() / 1_000) + ttlS;
      const signed = `${header}.${encode({ order: orderId, sub: id, aud: audience, exp: expiresAtS })}`;
      const watchToken = `${signed}.${createHmac("sha256", signingKey).update(signed).digest("base64url")}`;
      return { watchToken, watchTokenExpiresAt: new Date(expiresAtS * 1_000).toISOString() };
    },

    async verify(token) {
      if (token.length > tokenLengthMax || !tokenForm.test(token)) throw new HubError("token_invalid");
      const known = verified.get(token);
      if (known && known.watchable.expiresAtS > Date.now() / 1_000) return use(known);
      const found = await verifyWithAny(keys, token);
      cache(verified, token, found);
      return use(found);
    },
  };
}

interface Verified {
  watchable: Watchable;
  /** Signed with a secret that is not the first. */
  isSecondary: boolean;
}

type VerificationKey = ReturnType<KeyObject["toCryptoKey"]>;

/** Tries one key after the other. Throws `token_invalid` or `token_expired`. */
async function verifyWithAny(keys: readonly VerificationKey[], token: string): Promise<Verified> {
  for (const [index, key] of keys.entries()) {
    try {
      const { payload } = await jwtVerify(token, key, { algorithms: ["HS256"], audience });
      const { sub, order, exp } = claims.parse(payload);
      return { watchable: { id: sub, orderId: order, expiresAtS: exp }, isSecondary: index > 0 };
    } catch (error) {
      if (error instanceof errors.JWSSignatureVerificationFailed) continue;
      if (error instanceof errors.JWTExpired) throw new HubError("token_expired");
      throw new HubError("token_invalid", undefined, { cause: error });
    }
  }
  throw new HubError("token_invalid");
}

/** Removes the oldest entry once the cache is full. */
function cache(verified: Map<string, Verified>, token: string, found: Verified): void {
  const [oldest] = verified.keys();
  if (oldest !== undefined && verified.size >= verifiedMax) verified.delete(oldest);
  verified.set(token, found);
}
