/**
 * Access tokens of providers that have them, one encrypted row each, shared by every node: at some providers a new
 * token kills the old one, or only two may be fetched in an hour.
 *
 * A token is fetched only under an advisory lock, after reading the row once more: of any number of nodes and requests
 * that find it stale, one fetches and the others take what it stored. Expiry goes by the database's clock; in memory a
 * token is kept by this process's monotonic clock.
 */
import type pg from "pg";
import type { Sealer } from "../order/secret.ts";

export interface Credential {
  /** The access token. Pass the token that the provider just refused to get another. */
  token(rejected?: string): Promise<string>;
}

/** A token as fetched: `lifetimeS` in seconds, as the provider says. */
export interface FetchedToken {
  token: string;
  lifetimeS: number;
}

export interface CredentialOptions {
  provider: string;
  pool: pg.Pool;
  sealer: Sealer;
  fetch: () => Promise<FetchedToken>;
}

/** A token this close to its end is not used any more: the call it is for may take that long. */
const marginS = 60;

/** Longer than the 15 s that whoever holds the lock may take to fetch. */
const lockWaitMsMax = 20_000;

const lockStatement = {
  text: "select pg_advisory_xact_lock(hashtext('tukio credential'), hashtext($1))",
  query_timeout: lockWaitMsMax + 1_000,
};

interface CachedToken {
  token: string;
  staleAtMs: number;
}

const cacheable = (token: string, lifetimeS: number): CachedToken => ({
  token,
  staleAtMs: performance.now() + (lifetimeS - marginS) * 1_000,
});

export function createCredential({ provider, pool, sealer, fetch }: CredentialOptions): Credential {
  let cached: CachedToken | undefined;
  let refreshing: Promise<CachedToken> | undefined;

  const isFresh = (found: CachedToken | undefined, rejected?: string): found is CachedToken =>
    found !== undefined && found.token !== rejected && found.staleAtMs > performance.now();

  const read = async (client: pg.Pool | pg.PoolClient): Promise<CachedToken | undefined> => {
    const { rows } = await client.query<{ sealed: Buffer; lifetime_s: number }>(
      "select sealed, extract(epoch from expires_at - clock_timestamp())::float8 as lifetime_s from credential where provider = $1",
      [provider],
    );
    const [row] = rows;
    const token = row && sealer.open(row.sealed, provider);
    return row && token !== undefined ? cacheable(token, row.lifetime_s) : undefined;
  };

  const refresh = async (rejected?: string): Promise<CachedToken> => {
    const client = await pool.connect();
    try {
      await client.query(
        `begin; set local statement_timeout = ${lockWaitMsMax}; set local lock_timeout = ${lockWaitMsMax}`,
      );
      await client.query({ ...lockStatement, values: [provider] });
      const stored = await read(client);
      if (isFresh(stored, rejected)) return stored;
      const { token, lifetimeS } = await fetch();
      await client.query(
        `insert into credential (provider, sealed, expires_at)
         values ($1, $2, clock_timestamp() + $3 * interval '1 second')
         on conflict (provider) do update set sealed = excluded.sealed, expires_at = excluded.expires_at`,
        [provider, sealer.seal(token, provider), lifetimeS],
      );
      return cacheable(token, lifetimeS);
    } finally {
      const error = await client.query("commit").then(
        () => undefined,
        (cause: Error) => cause,
      );
      client.release(error);
    }
  };

  return {
    async token(rejected) {
      if (isFresh(cached, rejected)) return cached.token;
      const stored = refreshing ? undefined : await read(pool);
      if (isFresh(stored, rejected)) {
        cached = stored;
        return stored.token;
      }
      refreshing ??= refresh(rejected).finally(() => {
        refreshing = undefined;
      });
      cached = await refreshing;
      return cached.token;
    },
  };
}
