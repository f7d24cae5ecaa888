/**
 * Access tokens, for the providers that use them: one encrypted row per provider, which all nodes share.
 *
 * Any number of nodes and requests may need a token at once. They wait for an advisory lock, and read the row again once
 * they hold it: the first one fetches a token, and the others use the token that it stored. This matters because some
 * providers invalidate the old token when they issue a new one, and bKash allows two token calls an hour.
 *
 * For a provider that limits token calls, PostgreSQL counts each call before it is made, in a transaction of its own: a call
 * counts even if the process dies during it. A call that was certainly not sent is removed from the count, because
 * otherwise a minute without DNS would cost an hour without tokens.
 *
 * A stored token expires by PostgreSQL's clock, a cached one by this process's monotonic clock. A provider may revoke a
 * token early, which nothing here notices: pass the refused token to `token`.
 */
import type pg from "pg";
import { z } from "zod";
import type { Sealer } from "../auth/keys.ts";
import { setSocketTimeout } from "../database/pool.ts";
import { HubError, notReady } from "../errors.ts";
import { type Answer, Unreachable } from "./http-client.ts";

export interface AccessToken {
  /** Returns a valid token. Pass the token that the provider just refused to get a different one. */
  token(rejected?: string): Promise<string>;
  /** Call it with the provider's answer, and the token, when the provider refused a token. It does not throw. */
  onRefused?(answer: Answer, token: string): void;
}

/** The access token as operators and the refresh loop use it. */
export interface StoredAccessToken extends AccessToken {
  /** When the stored token expires; undefined without a readable one. */
  expiresAt(): Promise<Date | undefined>;
  /** Fetches a token if the stored one expires within 5 min. Returns when the token expires. */
  ahead(): Promise<Date>;
  /** The same, but only if a token was stored before: an account that is not used costs no token calls. */
  refreshAhead(): Promise<void>;
  /**
   * Fetches a token although the stored one may be valid, and stores it for all nodes. Where token calls are limited, fetches only
   * without a valid one, because the calls would be missing when a payment needs them.
   */
  renew(): Promise<{ expiresAt: Date; isFetched: boolean }>;
}

/** A token call's result. */
export interface FetchedToken {
  token: string;
  /** Seconds, as the provider states them. */
  lifetimeS: number;
  /** Fetches the next token in place of the account's credentials. */
  refreshToken?: string;
}

/** The rules of a provider for its tokens. */
export interface TokenRules {
  /**
   * Makes one token call: with the stored refresh token if there is one, without it after that failed. Throws `HubError`
   * `provider_unavailable`, with `Unreachable` as its cause when the request was certainly not sent.
   */
  fetch(refreshToken?: string): Promise<FetchedToken>;
  /** Token calls that the provider allows per hour, of all nodes together. Unlimited by default. */
  callsPerHourMax?: number;
}

export interface AccessTokenOptions extends TokenRules {
  provider: string;
  pool: pg.Pool;
  sealer: Sealer;
  /**
   * Whether this node must fetch no token now, because it cannot read the stored one that other nodes use: it would use up their
   * token calls, and a token that it stored would be of no use to them. Never by default.
   */
  isBlocked?: () => boolean;
}

/** A token is not used in its last minute, because the call that needs it may take that long. */
const marginS = 60;

/** Refreshing ahead replaces a token in its last 5 minutes. */
const aheadS = 300;

/** 20 s, because the lock's holder may take 15 s for its token call. */
const lockWaitMsMax = 20_000;

const lockStatement = "select pg_advisory_xact_lock(hashtext('tukio credential'), hashtext($1))";

interface CachedToken {
  token: string;
  refreshToken?: string | undefined;
  /** By PostgreSQL's clock. */
  expiresAt: Date;
  /** The same moment by this process's monotonic clock. */
  endsAtMs: number;
}

const sealedShape = z.object({ token: z.string(), refreshToken: z.string().optional() });
type Tokens = z.infer<typeof sealedShape>;

/** A caller needs a token other than the refused one that is valid for at least `leftS` seconds. */
interface Wanted {
  rejected?: string | undefined;
  leftS: number;
}

const isFresh = (found: CachedToken | undefined, { rejected, leftS }: Wanted): found is CachedToken =>
  found !== undefined && found.token !== rejected && found.endsAtMs > performance.now() + leftS * 1_000;

export function createAccessToken(options: AccessTokenOptions): StoredAccessToken {
  const { pool, isBlocked = () => false } = options;
  let cached: CachedToken | undefined;
  /** The refreshes in flight, by the `leftS` that they were started for. */
  const refreshing = new Map<number, Promise<CachedToken>>();

  /** Reads the stored token, and refreshes it unless it is fresh. Concurrent calls with the same `leftS` share a refresh. */
  const find = async (wanted: Wanted): Promise<CachedToken> => {
    const { leftS } = wanted;
    const stored = refreshing.has(leftS) ? undefined : await readToken(pool, options);
    if (isFresh(stored, wanted)) {
      cached = stored;
      return stored;
    }
    if (isBlocked()) throw notReady();
    const found = refreshing.get(leftS) ?? refresh(options, wanted).finally(() => refreshing.delete(leftS));
    refreshing.set(leftS, found);
    cached = await found;
    return cached;
  };

  return {
    async token(rejected) {
      const wanted = { rejected, leftS: marginS };
      return (isFresh(cached, wanted) ? cached : await find(wanted)).token;
    },

    expiresAt: async () => (await readToken(pool, options))?.expiresAt,

    ahead: async () => (await find({ leftS: aheadS })).expiresAt,

    async renew() {
      const isLimited = options.callsPerHourMax !== undefined;
      const stored = isLimited ? await readToken(pool, options) : undefined;
      if (isFresh(stored, { leftS: marginS })) return { expiresAt: stored.expiresAt, isFetched: false };
      // No token is valid for ever, so that one is fetched.
      const { expiresAt } = await find({ leftS: isLimited ? marginS : Number.POSITIVE_INFINITY });
      return { expiresAt, isFetched: true };
    },

    async refreshAhead() {
      if (isBlocked()) return;
      const stored = await readToken(pool, options);
      if (stored && !isFresh(stored, { leftS: aheadS })) await find({ leftS: aheadS });
    },
  };
}

/** Fetches a token under the lock, unless another holder of the lock has just stored a fresh one. */
async function refresh(options: AccessTokenOptions, wanted: Wanted): Promise<CachedToken> {
  const client = await options.pool.connect();
  // The connection is silent during the token call, so its socket timeout must exceed the wait for the lock.
  setSocketTimeout(client, lockWaitMsMax + 5_000);
  try {
    await client.query(
      `begin; set local statement_timeout = ${lockWaitMsMax}; set local lock_timeout = ${lockWaitMsMax}`,
    );
    await client.query(lockStatement, [options.provider]);
    const stored = await readToken(client, options);
    return isFresh(stored, wanted) ? stored : await replaceToken(client, options, stored);
  } finally {
    const error = await client.query("commit").then(
      () => undefined,
      (cause: Error) => cause,
    );
    client.release(error);
  }
}

/** Makes one token call and stores its result. The caller holds the lock. */
async function replaceToken(
  client: pg.PoolClient,
  options: AccessTokenOptions,
  stored: CachedToken | undefined,
): Promise<CachedToken> {
  const { token = "", refreshToken } = stored ?? {};
  const countedAt = await countCall(options);
  try {
    const { lifetimeS, ...tokens } = await options.fetch(refreshToken);
    return await writeToken(client, options, { tokens, lifetimeS });
  } catch (error) {
    if (isUnsent(error)) await uncountCall(client, options, countedAt);
    // The next call uses the account's credentials, whatever was wrong with the refresh token.
    else if (refreshToken !== undefined) await forgetRefreshToken(client, options, token);
    throw error;
  }
}

const isUnsent = (error: unknown): boolean => error instanceof Error && error.cause instanceof Unreachable;

type Stored = Pick<AccessTokenOptions, "provider" | "sealer">;

async function readToken(
  client: pg.Pool | pg.PoolClient,
  { provider, sealer }: Stored,
): Promise<CachedToken | undefined> {
  const { rows } = await client.query<{ sealed: Buffer; expires_at: Date; lifetime_s: number }>(
    "select sealed, expires_at, extract(epoch from expires_at - clock_timestamp())::float8 as lifetime_s from credential where provider = $1",
    [provider],
  );
  const [row] = rows;
  const opened = row && sealer.open(row.sealed, provider);
  const tokens = opened === undefined ? undefined : parseTokens(opened);
  return row && tokens ? cacheable(tokens, row.expires_at, row.lifetime_s) : undefined;
}

/** Undefined for the form that an older version sealed. */
function parseTokens(opened: string): Tokens | undefined {
  try {
    return sealedShape.parse(JSON.parse(opened));
  } catch {
    return undefined;
  }
}

const cacheable = (tokens: Tokens, expiresAt: Date, lifetimeS: number): CachedToken => ({
  ...tokens,
  expiresAt,
  endsAtMs: performance.now() + lifetimeS * 1_000,
});

async function writeToken(
  client: pg.PoolClient,
  { provider, sealer }: Stored,
  { tokens, lifetimeS }: { tokens: Tokens; lifetimeS: number },
): Promise<CachedToken> {
  const { rows } = await client.query<{ expires_at: Date }>(
    `insert into credential (provider, sealed, expires_at)
     values ($1, $2, clock_timestamp() + $3 * interval '1 second')
     on conflict (provider) do update set sealed = excluded.sealed, expires_at = excluded.expires_at
     returning expires_at`,
    [provider, sealer.seal(JSON.stringify(tokens), provider), lifetimeS],
  );
  if (!rows[0]) throw new Error("an upsert always returns one row");
  return cacheable(tokens, rows[0].expires_at, lifetimeS);
}

async function forgetRefreshToken(client: pg.PoolClient, { provider, sealer }: Stored, token: string): Promise<void> {
  const sealed = sealer.seal(JSON.stringify({ token } satisfies Tokens), provider);
  await client.query("update credential set sealed = $2 where provider = $1", [provider, sealed]);
}

/**
 * Counts a token call, or returns no row when the limit is reached. Rows are kept for a day. The window is 61 minutes,
 * because a provider counts a call when it arrives, up to 15 s after we counted it, and by its own clock.
 */
const countStatement = `with old as (
    delete from token_call where provider = $1 and at < clock_timestamp() - interval '1 day'
  )
  insert into token_call (provider, at)
  select $1, clock_timestamp()
  where (select count(*) from token_call where provider = $1 and at > clock_timestamp() - interval '61 minutes') < $2
  returning at::text`;

/** Returns when the call was counted; undefined where calls are not limited. Throws `HubError` when the limit is reached. */
async function countCall({ provider, pool, callsPerHourMax }: AccessTokenOptions): Promise<string | undefined> {
  if (callsPerHourMax === undefined) return undefined;
  // On another connection than the lock's, so that the count is committed before the call.
  const { rows } = await pool.query<{ at: string }>(countStatement, [provider, callsPerHourMax]);
  if (!rows[0]) {
    const detail = `${provider} allows ${callsPerHourMax} token calls an hour, and they are used up`;
    throw new HubError("provider_unavailable", detail, { retryAfterS: 600 });
  }
  return rows[0].at;
}

async function uncountCall(client: pg.PoolClient, { provider }: Stored, countedAt: string | undefined): Promise<void> {
  await client.query("delete from token_call where provider = $1 and at = $2::timestamptz", [provider, countedAt]);
}
