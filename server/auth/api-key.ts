/** API keys, what each may do, and what ends with a key. The table of keys is in server/key/. */
import { hash } from "node:crypto";

/** `read`: every GET. `pay`: what takes payments. `manage`: decisions, endpoints, keys, and sending again. */
export const scopes = ["read", "pay", "manage"] as const;

export type Scope = (typeof scopes)[number];

/** The id and the name of the keys in the variable `TUKIO_API_KEY`. */
export const environmentKey = "TUKIO_API_KEY";

/** Something that a key holds open, such as a stream. */
export interface Held {
  expire(): void;
}

/** A key as a request has proved to hold it, itself or by a session of the desk. */
export interface ApiKey {
  /** A uuid, or `TUKIO_API_KEY`. */
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Identifies the key without containing it. */
  readonly fingerprint: string;
  /** Present when the request came with a session of the desk. */
  readonly session?: { readonly id: string; readonly expiresAt: Date };
  /** Revoked or expired. */
  hasEnded: boolean;
  /** What ends with the key. */
  readonly held: Set<Held>;
}

/** The keys and sessions that this node knows, in memory. */
export interface KeyRing {
  /** The key with this secret. The token of a session is not one. */
  keyOf(secret: string): ApiKey | undefined;
  /** The key of the session with this token. */
  sessionOf(token: string): ApiKey | undefined;
  /** False when a key may have been revoked, or created, without this node's notice. `TUKIO_API_KEY` is not affected. */
  readonly isCurrent: boolean;
}

/** Ends `held` when the key ends, or now if it has ended. */
export function holdWith(key: ApiKey | undefined, held: Held): void {
  if (key?.hasEnded) held.expire();
  else key?.held.add(held);
}

export const release = (key: ApiKey | undefined, held: Held): void => void key?.held.delete(held);

/**
 * The hash by which a secret is stored and found. A plain SHA-256, because the secrets are random: 256 bits cannot be guessed from a fast
 * hash either. A slow hash would only cost time on each request.
 *
 * A lookup by the hash takes a time that tells nothing about a secret, because nobody can choose a secret by a part of its hash.
 */
export const hashOf = (secret: string): Buffer => hash("sha256", secret, "buffer");

/** The start of the hash: 96 bits. */
export const fingerprintOfHash = (hash: Buffer): string => hash.toString("base64url").slice(0, 16);
