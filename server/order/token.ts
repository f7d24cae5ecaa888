/** Watch tokens: a JWT (HS256, algorithm pinned) that lets its bearer watch one order, named by its uuid, and nothing else. */
import { errors, jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { deriveTokenKeys } from "./secret.ts";

/** The order that a token opens, until when. */
export interface Watchable {
  id: string;
  orderId: string;
  /** Seconds since 1970. */
  expiresAtS: number;
}

export interface WatchTokens {
  issue(order: { id: string; orderId: string }): Promise<{ watchToken: string; watchTokenExpiresAt: string }>;
  /** Throws `token_invalid` or `token_expired`. */
  verify(token: string): Promise<Watchable>;
}

const audience = "tukio:watch";

const claims = z.object({ sub: z.uuid(), order: z.string(), exp: z.number() });

/** `ttlS` is how long a token lives, in seconds. The first secret signs, all of them verify. */
export function createWatchTokens(secrets: readonly string[], ttlS: number): WatchTokens {
  const keys = deriveTokenKeys(secrets);
  const [signingKey] = keys;
  if (!signingKey) throw new Error("there is no secret to derive from");

  return {
    async issue({ id, orderId }) {
      const expiresAtS = Math.floor(Date.now() / 1_000) + ttlS;
      const watchToken = await new SignJWT({ order: orderId })
        .setProtectedHeader({ alg: "HS256" })
        .setSubject(id)
        .setAudience(audience)
        .setExpirationTime(expiresAtS)
        .sign(signingKey);
      return { watchToken, watchTokenExpiresAt: new Date(expiresAtS * 1_000).toISOString() };
    },

    async verify(token) {
      for (const key of keys) {
        try {
          const { payload } = await jwtVerify(token, key, { algorithms: ["HS256"], audience });
          const { sub, order, exp } = claims.parse(payload);
          return { id: sub, orderId: order, expiresAtS: exp };
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
