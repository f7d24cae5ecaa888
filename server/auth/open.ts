/** Creates everything that is derived from the node's secrets, authorizes requests, and compares the secrets of all nodes. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Database } from "../database/pool.ts";
import { HubError, notReady } from "../errors.ts";
import type { OrderQuery } from "../order/query.ts";
import type { Counter } from "../rate-limit.ts";
import { type Access, createAccess } from "./access.ts";
import type { KeyRing } from "./api-key.ts";
import { createSealer, createUrlSecrets, type OnSecondarySecret, type Sealer, type UrlSecrets } from "./keys.ts";
import { createRepeatedComparison, type SecretComparison } from "./secret-comparison.ts";
import { createWatchTokens, type WatchTokens } from "./watch-token.ts";

export interface AuthSettings {
  readonly secrets: readonly string[];
  /** Seconds. */
  readonly watchTokenTtlS: number;
  readonly publicUrl?: string;
}

export interface Auth {
  access: Access;
  tokens: WatchTokens;
  sealer: Sealer;
  urlSecrets: { webhook: UrlSecrets; return: UrlSecrets };
  secretComparison: Pick<SecretComparison, "state">;
  /** Whether this node must take no money now, because a node in conflict with it served first. */
  isBlocked: () => boolean;
}

export interface AuthOptions {
  app: FastifyInstance;
  ring: KeyRing;
  query: Pick<OrderQuery, "idOf">;
  database: Database;
  counter: Counter;
  log: FastifyBaseLogger;
  onSecondarySecret: OnSecondarySecret;
}

/**
 * The comparison begins before the server listens, so that the node knows from its first answer on whether it is ready. It
 * ends when the node begins to drain, so that another node can take its place at once.
 */
export function openAuth(
  { secrets, watchTokenTtlS, publicUrl }: AuthSettings,
  { app, ring, query, database, counter, log, onSecondarySecret }: AuthOptions,
): Auth {
  const secretComparison = createRepeatedComparison({ database, secrets, log });
  app.addHook("onReady", () => secretComparison.start());
  // Not awaited, because the watchers must not wait for PostgreSQL.
  app.addHook("preClose", async () => void secretComparison.close());
  app.addHook("onClose", () => secretComparison.close());
  const isBlocked = (): boolean => secretComparison.state.isBlocked;
  const tokens = whileBlocked(createWatchTokens(secrets, watchTokenTtlS, onSecondarySecret), isBlocked);
  return {
    access: createAccess({ ring, tokens, query, cookie: { publicUrl }, counter }),
    tokens,
    sealer: createSealer(secrets, onSecondarySecret),
    urlSecrets: {
      webhook: createUrlSecrets(secrets, "webhook", onSecondarySecret),
      return: createUrlSecrets(secrets, "return", onSecondarySecret),
    },
    secretComparison,
    isBlocked,
  };
}

/** Throws `not_ready` in place of `token_invalid` while the node is blocked, because the nodes that serve may accept the token. */
const whileBlocked = (tokens: WatchTokens, isBlocked: () => boolean): WatchTokens => ({
  ...tokens,
  async verify(token) {
    try {
      return await tokens.verify(token);
    } catch (error) {
      if (error instanceof HubError && error.code === "token_invalid" && isBlocked()) throw notReady();
      throw error;
    }
  },
});
