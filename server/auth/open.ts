/** Creates everything that is derived from the node's API keys and secrets, and begins to compare the secrets of all nodes. */
import type { FastifyBaseLogger } from "fastify";
import type { Database } from "../database/pool.ts";
import type { OrderQuery } from "../order/query.ts";
import { type Access, createAccess } from "./access.ts";
import { createSealer, createUrlSecrets, type OnSecondarySecret, type Sealer, type UrlSecrets } from "./keys.ts";
import { type StartedSecretComparison, startSecretComparison } from "./secret-comparison.ts";
import { createWatchTokens, type WatchTokens } from "./watch-token.ts";

export interface AuthSettings {
  readonly apiKeys: readonly string[];
  readonly secrets: readonly string[];
  /** Seconds. */
  readonly watchTokenTtlS: number;
}

export interface Auth {
  access: Access;
  tokens: WatchTokens;
  sealer: Sealer;
  urlSecrets: { webhook: UrlSecrets; return: UrlSecrets };
  secretComparison: StartedSecretComparison;
}

export interface AuthOptions {
  query: Pick<OrderQuery, "idOf">;
  database: Database;
  log: FastifyBaseLogger;
  onSecondarySecret: OnSecondarySecret;
}

/** Resolves when the secrets have been compared once, so that the node knows from its first answer on whether it is ready. */
export async function openAuth(
  { apiKeys, secrets, watchTokenTtlS }: AuthSettings,
  { query, database, log, onSecondarySecret }: AuthOptions,
): Promise<Auth> {
  const secretComparison = await startSecretComparison({ database, secrets, log });
  const tokens = createWatchTokens(secrets, watchTokenTtlS, onSecondarySecret);
  return {
    access: createAccess({ apiKeys, tokens, query }),
    tokens,
    sealer: createSealer(secrets, onSecondarySecret),
    urlSecrets: {
      webhook: createUrlSecrets(secrets, "webhook", onSecondarySecret),
      return: createUrlSecrets(secrets, "return", onSecondarySecret),
    },
    secretComparison,
  };
}
