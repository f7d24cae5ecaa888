/** Creates everything that is derived from the node's API keys and secrets. */
import type { OrderQuery } from "../order/query.ts";
import { type Access, createAccess } from "./access.ts";
import { createSealer, createUrlSecrets, type Sealer, type UrlSecrets } from "./keys.ts";
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
}

export function openAuth({ apiKeys, secrets, watchTokenTtlS }: AuthSettings, query: Pick<OrderQuery, "idOf">): Auth {
  const tokens = createWatchTokens(secrets, watchTokenTtlS);
  return {
    access: createAccess({ apiKeys, tokens, query }),
    tokens,
    sealer: createSealer(secrets),
    urlSecrets: { webhook: createUrlSecrets(secrets, "webhook"), return: createUrlSecrets(secrets, "return") },
  };
}
