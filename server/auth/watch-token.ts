/** Watch tokens: a JWT (HS256, algorithm pinned) that lets its bearer watch one order, named by its uuid, and nothing else. */
import { createHmac } from "node:crypto";
import { errors, jwtVerify } from "jose";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { deriveTokenKeys } from "./keys.ts";

/** The order that a token opens, until when. */
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

/** A token is verified for its request's budget, for its answer, and at its next long poll: the latest ones are remembered. */
const verifiedMax = 1_000;

/** An order's id may be long, and its letters are encoded twice. */
const tokenLengthMax = 4_096;

/** As `issue` makes them: base64 that is read leniently would have one token in many spellings. */
const tokenForm = /^[\w-]+\.[\w-]+\.[\w-]{43}$/;

const claims = z.object({ sub: z.uuid(), order: z.string(), exp: z.number() });

/** `ttlS` is how long a token lives, in seconds. The first secret signs, all of them verify. */
export function createWatchTokens(secrets: readonly string[], ttlS: number): WatchTokens {
  const derived = deriveTokenKeys(secrets);
  const [signingKey] = derived;
  if (!signingKey) throw new Error("there is no secret to derive from");
  // Of a key object, jose would make one of these anew for each token.
  const keys = derived.map((key) => key.toCryptoKey({ name: "HMAC", hash: "SHA-256" }, false, ["verify"]));

  const verified = new Map<string, Watchable>();

  const remember = (token: string, watchable: Watchable): Watchable => {
    const [oldest] = verified.keys();
    if (oldest !== undefined && verified.size >= verifiedMax) verified.delete(oldest);
    verified.set(token, watchable);
    return watchable;
  };

  return {
    // Not by jose, which signs on another thread: waiting for that took a fifth of the time that opening an order takes.
    issue({ id, orderId }) {
      const expiresAtS = Math.floor(Date.now() / 1_000) + ttlS;
      const signed = `${header}.${encode({ order: orderId, sub: id, aud: audience, exp: expiresAtS })}`;
      const watchToken = `${signed}.${createHmac("sha256", signingKey).update(signed).digest("base64url")}`;
      return { watchToken, watchTokenExpiresAt: new Date(expiresAtS * 1_000).toISOString() };
    },

    async verify(token) {
      if (token.length > tokenLengthMax || !tokenForm.test(token)) throw new HubError("token_invalid");
      const known = verified.get(token);
      if (known && known.expiresAtS > Date.now() / 1_000) return known;
      for (const key of keys) {
        try {
          const { payload } = await jwtVerify(token, key, { algorithms: ["HS256"], audience });
          const { sub, order, exp } = claims.parse(payload);
          return remember(token, { id: sub, orderId: order, expiresAtS: exp });
        } catch (error) {
          if (error instanceof errors.JWSSignatureVerificationFailed) continue;
          if (error instanceof errors.JWTExpired) throw new HubError("token_expired");
          throw new HubError("token_invalid", undefined, { cause: error });
        }
      }
      throw new HubError("token_invalid");
    },
  };
}
