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

/** A credential as its operator sees it. */
export interface StoredCredential extends Credential {
  /** When the stored token runs out; undefined when there is none that can be read. */
  expiresAt(): Promise<Date | undefined>;
  /** Fetches a token before it is needed if fewer than 5 min of the stored one are left. Returns when the token runs out. */
  ahead(): Promise<Date>;
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
  /** Throws `HubError` `provider_unavailable`. */
  fetch: () => Promise<FetchedToken>;
}

/** A token this close to its end is not used any more: the call it is for may take that long. */
const marginS = 60;

/** Fetched ahead of need, a token is replaced this close to its end. */
const aheadS = 300;

/** Longer than the 15 s that whoever holds the lock may take to fetch. */
const lockWaitMsMax = 20_000;

const lockStatement = {
  text: "select pg_advisory_xact_lock(hashtext('tukio credential'), hashtext($1))",
  query_timeout: lockWaitMsMax + 1_000,
};

interface CachedToken {
  token: string;
  /** By the database's clock. */
  expiresAt: Date;
  /** The same by this process's monotonic clock. */
  endsAtMs: number;
}

const cacheable = (token: string, expiresAt: Date, lifetimeS: number): CachedToken => ({
  token,
  expiresAt,
  endsAtMs: performance.now() + lifetimeS * 1_000,
});

/** What a token must be: not the one that was refused, and good for so long. */
interface Wanted {
  rejected?: string | undefined;
  leftS: number;
}

const isFresh = (found: CachedToken | undefined, { rejected, leftS }: Wanted): found is CachedToken =>
  found !== undefined && found.token !== rejected && found.endsAtMs > performance.now() + leftS * 1_000;

export function createCredential({ provider, pool, sealer, fetch }: CredentialOptions): StoredCredential {
  let cached: CachedToken | undefined;
  /** The refreshes under way, by how long the token must be good for. */
  const refreshing = new Map<number, Promise<CachedToken>>();

  const read = async (client: pg.Pool | pg.PoolClient): Promise<CachedToken | undefined> => {
    const { rows } = await client.query<{ sealed: Buffer; expires_at: Date; lifetime_s: number }>(
      "select sealed, expires_at, extract(epoch from expires_at - clock_timestamp())::float8 as lifetime_s from credential where provider = $1",
      [provider],
    );
    const [row] = rows;
    const token = row && sealer.open(row.sealed, provider);
    return row && token !== undefined ? cacheable(token, row.expires_at, row.lifetime_s) : undefined;
  };

  const refresh = async (wanted: Wanted): Promise<CachedToken> => {
    const client = await pool.connect();
    try {
      await client.query(
        `begin; set local statement_timeout = ${lockWaitMsMax}; set local lock_timeout = ${lockWaitMsMax}`,
      );
      await client.query({ ...lockStatement, values: [provider] });
      const stored = await read(client);
      if (isFresh(stored, wanted)) return stored;
      const { token, lifetimeS } = await fetch();
      const { rows } = await client.query<{ expires_at: Date }>(
        `insert into credential (provider, sealed, expires_at)
         values ($1, $2, clock_timestamp() + $3 * interval '1 second')
         on conflict (provider) do update set sealed = excluded.sealed, expires_at = excluded.expires_at
         returning expires_at`,
        [provider, sealer.seal(token, provider), lifetimeS],
      );
      if (!rows[0]) throw new Error("an upsert always answers one row");
      return cacheable(token, rows[0].expires_at, lifetimeS);
    } finally {
      const error = await client.query("commit").then(
        () => undefined,
        (cause: Error) => cause,
      );
      client.release(error);
    }
  };

  /** From the database, or else from the provider: who asks for the same meanwhile shares the refresh. */
  const find = async (wanted: Wanted): Promise<CachedToken> => {
    const { leftS } = wanted;
    const stored = refreshing.has(leftS) ? undefined : await read(pool);
    if (isFresh(stored, wanted)) {
      cached = stored;
      return stored;
    }
    const found = refreshing.get(leftS) ?? refresh(wanted).finally(() => refreshing.delete(leftS));
    refreshing.set(leftS, found);
    cached = await found;
    return cached;
  };

  return {
    async token(rejected) {
      const wanted = { rejected, leftS: marginS };
      return (isFresh(cached, wanted) ? cached : await find(wanted)).token;
    },

    expiresAt: async () => (await read(pool))?.expiresAt,

    ahead: async () => (await find({ leftS: aheadS })).expiresAt,
  };
}
