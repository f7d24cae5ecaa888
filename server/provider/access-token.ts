/**
 * Access tokens of providers that have them, one encrypted row each, shared by every node: at some providers a new
 * token kills the old one, or only two may be fetched in an hour. Where calls are rationed each one is counted before
 * it is made, in a commit of its own: one that was made counts although the process died in it. Only one that surely
 * never left this machine is taken off again: or else a name that did not resolve for a minute would cost an hour.
 *
 * A token is fetched only under an advisory lock, after reading the row once more: of any number of nodes and requests
 * that find it stale, one fetches and the others take what it stored. Expiry goes by the database's clock; in memory a
 * token is kept by this process's monotonic clock.
 */
import type pg from "pg";
import { z } from "zod";
import type { Sealer } from "../auth/keys.ts";
import { setSilenceTimeout } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import { Unreachable } from "./http-client.ts";

export interface AccessToken {
  /** The access token. Pass the token that the provider just refused to get another. */
  token(rejected?: string): Promise<string>;
}

/** A credential as its operator sees it. */
export interface StoredAccessToken extends AccessToken {
  /** When the stored token runs out; undefined when there is none that can be read. */
  expiresAt(): Promise<Date | undefined>;
  /** Fetches a token before it is needed if fewer than 5 min of the stored one are left. Returns when the token runs out. */
  ahead(): Promise<Date>;
  /** The same, but only if there has been a token before: what nobody has used yet is not kept alive. */
  refreshAhead(): Promise<void>;
}

/** A token as fetched: `lifetimeS` in seconds, as the provider says. */
export interface FetchedToken {
  token: string;
  lifetimeS: number;
  /** What the next token may be fetched with instead of the account's credentials. */
  refreshToken?: string;
}

/** How a provider's tokens are fetched. */
export interface TokenRules {
  /**
   * Makes one call for a token; with the refresh token of the last one, where that was given, and without it once that
   * has failed. Throws `HubError` `provider_unavailable`, caused by `Unreachable` where nothing was sent.
   */
  fetch(refreshToken?: string): Promise<FetchedToken>;
  /** Calls in an hour at most, of all nodes together. Unlimited by default. */
  callsPerHourMax?: number;
}

export interface AccessTokenOptions extends TokenRules {
  provider: string;
  pool: pg.Pool;
  sealer: Sealer;
}

/** A token this close to its end is not used any more: the call it is for may take that long. */
const marginS = 60;

/** Fetched ahead of need, a token is replaced this close to its end. */
const aheadS = 300;

/** Longer than the 15 s that whoever holds the lock may take to fetch. */
const lockWaitMsMax = 20_000;

const lockStatement = "select pg_advisory_xact_lock(hashtext('tukio credential'), hashtext($1))";

interface CachedToken {
  token: string;
  refreshToken?: string | undefined;
  /** By the database's clock. */
  expiresAt: Date;
  /** The same by this process's monotonic clock. */
  endsAtMs: number;
}

const sealedShape = z.object({ token: z.string(), refreshToken: z.string().optional() });
type Tokens = z.infer<typeof sealedShape>;

const cacheable = (tokens: Tokens, expiresAt: Date, lifetimeS: number): CachedToken => ({
  ...tokens,
  expiresAt,
  endsAtMs: performance.now() + lifetimeS * 1_000,
});

/**
 * Counts a call if it is within the ration; no row: it is not. Calls of a day are kept. The hour has a minute more: a
 * provider counts when a call arrives, which is up to its deadline (15 s) later than here, and by a clock of its own.
 */
const rationStatement = `with old as (
    delete from token_call where provider = $1 and at < clock_timestamp() - interval '1 day'
  )
  insert into token_call (provider, at)
  select $1, clock_timestamp()
  where (select count(*) from token_call where provider = $1 and at > clock_timestamp() - interval '61 minutes') < $2
  returning at::text`;

/** What a token must be: not the one that was refused, and good for so long. */
interface Wanted {
  rejected?: string | undefined;
  leftS: number;
}

const isFresh = (found: CachedToken | undefined, { rejected, leftS }: Wanted): found is CachedToken =>
  found !== undefined && found.token !== rejected && found.endsAtMs > performance.now() + leftS * 1_000;

export function createAccessToken(options: AccessTokenOptions): StoredAccessToken {
  const { provider, pool, sealer, fetch, callsPerHourMax } = options;
  let cached: CachedToken | undefined;
  /** The refreshes under way, by how long the token must be good for. */
  const refreshing = new Map<number, Promise<CachedToken>>();

  const read = async (client: pg.Pool | pg.PoolClient): Promise<CachedToken | undefined> => {
    const { rows } = await client.query<{ sealed: Buffer; expires_at: Date; lifetime_s: number }>(
      "select sealed, expires_at, extract(epoch from expires_at - clock_timestamp())::float8 as lifetime_s from credential where provider = $1",
      [provider],
    );
    const [row] = rows;
    const opened = row && sealer.open(row.sealed, provider);
    const tokens = opened === undefined ? undefined : readTokens(opened);
    return row && tokens ? cacheable(tokens, row.expires_at, row.lifetime_s) : undefined;
  };

  const write = async (client: pg.PoolClient, tokens: Tokens, lifetimeS: number): Promise<CachedToken> => {
    const { rows } = await client.query<{ expires_at: Date }>(
      `insert into credential (provider, sealed, expires_at)
       values ($1, $2, clock_timestamp() + $3 * interval '1 second')
       on conflict (provider) do update set sealed = excluded.sealed, expires_at = excluded.expires_at
       returning expires_at`,
      [provider, sealer.seal(JSON.stringify(tokens), provider), lifetimeS],
    );
    if (!rows[0]) throw new Error("an upsert always answers one row");
    return cacheable(tokens, rows[0].expires_at, lifetimeS);
  };

  /** Returns when the call was counted; undefined where calls are not rationed. */
  const takeRation = async (): Promise<string | undefined> => {
    if (callsPerHourMax === undefined) return undefined;
    // Not within the lock's transaction, whose end this must not depend on.
    const { rows } = await pool.query<{ at: string }>(rationStatement, [provider, callsPerHourMax]);
    if (!rows[0]) {
      const detail = `${provider} allows ${callsPerHourMax} token calls an hour, and they are used up`;
      throw new HubError("provider_unavailable", detail, { retryAfterS: 600 });
    }
    return rows[0].at;
  };

  const refresh = async (wanted: Wanted): Promise<CachedToken> => {
    const client = await pool.connect();
    // While a token is counted and fetched, nothing is asked.
    setSilenceTimeout(client, lockWaitMsMax + 5_000);
    try {
      await client.query(
        `begin; set local statement_timeout = ${lockWaitMsMax}; set local lock_timeout = ${lockWaitMsMax}`,
      );
      await client.query(lockStatement, [provider]);
      const stored = await read(client);
      const { token = "", refreshToken } = stored ?? {};
      if (isFresh(stored, wanted)) return stored;
      const countedAt = await takeRation();
      try {
        const { lifetimeS, ...tokens } = await fetch(refreshToken);
        return await write(client, tokens, lifetimeS);
      } catch (error) {
        if (isUnsent(error)) {
          await client.query("delete from token_call where provider = $1 and at = $2::timestamptz", [
            provider,
            countedAt,
          ]);
        } else if (refreshToken !== undefined) {
          // Whatever was wrong with it, the next call goes without.
          const sealed = sealer.seal(JSON.stringify({ token } satisfies Tokens), provider);
          await client.query("update credential set sealed = $2 where provider = $1", [provider, sealed]);
        }
        throw error;
      }
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

    async refreshAhead() {
      const stored = await read(pool);
      if (stored && !isFresh(stored, { leftS: aheadS })) await find({ leftS: aheadS });
    },
  };
}

const isUnsent = (error: unknown): boolean => error instanceof Error && error.cause instanceof Unreachable;

/** Undefined for what an older version sealed in another form. */
function readTokens(opened: string): Tokens | undefined {
  try {
    return sealedShape.parse(JSON.parse(opened));
  } catch {
    return undefined;
  }
}
