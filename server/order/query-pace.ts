/**
 * The pace at which all nodes together query each provider: one row for each provider whose pace is limited. `next_at` is the
 * time from which the next query may be sent (GCRA, the leaky bucket as a meter). Each rate-limit answer of the provider halves
 * its pace; each halving ends after two minutes.
 */
import type pg from "pg";
import { run } from "./statement.ts";

/** A halving ends after two minutes, because providers count their limits by the minute. */
const halvingS = 120;

/** The pace is halved at most once within five seconds, because queries that are in flight together are refused together. */
const togetherS = 5;

/** Unused permits of the last half second still count, because the reconciler claims twice a second. */
export const creditS = 0.5;

/** The queries of one second, because claims run twice a second. */
export const queriesAtOnce = (perMinute = 60): number => Math.max(1, Math.floor(perMinute / 60));

/** Eight halvings at most, because a provider must still be queried about once a minute: 0.2 s × 2^8 = 51 s. */
const halvingsMax = 8;

/** The interval assumed for a provider without a configured pace after a rate-limit answer: five queries a second, as Safaricom's message states. */
const assumedIntervalS = 0.2;

/** The pause after a rate-limit answer without `Retry-After`. */
const restS = 10;

/** The longest `Retry-After` that is respected, because a wrong one must not stop all queries for days. */
const restMaxS = 600;

/** The number of halvings in force for a row of `query_pace`. */
export const halvingsNow = (row: string): string =>
  `greatest(0, ${row}.halvings - floor(extract(epoch from clock_timestamp() - ${row}.halved_at) / ${halvingS})::int)`;

/** Seconds between two queries, from the usual seconds and the number of halvings. Null: the pace is not limited. */
export const intervalNow = (usualS: string, halvings: string): string =>
  `case when ${halvings} > 0 then coalesce(${usualS}, ${assumedIntervalS}) * 2 ^ ${halvings} else ${usualS} end`;

/** Queries per minute in force, from the usual number and the number of halvings. Undefined: the pace is not limited. */
export function queriesPerMinute(usual: number | undefined, halvings: number): number | undefined {
  return halvings > 0 ? (usual ?? 60 / assumedIntervalS) / 2 ** halvings : usual;
}

const preparePaceStatement = {
  name: "prepare-pace",
  text: `insert into query_pace (provider, next_at) select unnest($1::text[]), clock_timestamp() on conflict do nothing`,
} as const;

/** Creates the rows of providers whose pace is limited, because a claim can lock only rows that exist. */
export async function preparePace(pool: pg.Pool, providers: readonly string[]): Promise<void> {
  if (providers.length > 0) await run(pool, preparePaceStatement, [providers]);
}

const slowStatement = {
  name: "slow-queries",
  text: `insert into query_pace as q (provider, next_at, halvings, halved_at)
    values ($1, clock_timestamp() + $2 * interval '1 second', 1, clock_timestamp())
    on conflict (provider) do update set
      next_at = greatest(q.next_at, excluded.next_at),
      halvings = case when q.halved_at > clock_timestamp() - interval '${togetherS} seconds' then q.halvings
                      else least(${halvingsMax}, ${halvingsNow("q")} + 1) end,
      halved_at = case when q.halved_at > clock_timestamp() - interval '${togetherS} seconds' then q.halved_at
                       else clock_timestamp() end`,
} as const;

/** Halves a provider's pace for all nodes, and pauses its queries for `retryAfterS` seconds (default 10, at most 600). */
export async function slowQueries(pool: pg.Pool, provider: string, retryAfterS = restS): Promise<void> {
  await run(pool, slowStatement, [provider, Math.min(retryAfterS, restMaxS)]);
}

/**
 * $1: the provider. $2: the usual seconds between two queries; null: no limit. $3: the queries of one second. Returns no row where
 * nothing limits the pace.
 */
const takeQueryStatement = {
  name: "take-query",
  text: `with pace as materialized (
    select provider, next_at, ${halvingsNow("q")} as halvings from query_pace q where provider = $1 for no key update
  ),
  turn as materialized (
    select p.provider, i.interval_s, extract(epoch from p.next_at - clock_timestamp())
        - (case when p.halvings > 0 then 1 else $3::float8 end - 1) * i.interval_s as wait_s
    from pace p cross join lateral (select ${intervalNow("$2::float8", "p.halvings")} as interval_s) i
    where i.interval_s is not null
  ),
  spent as (
    update query_pace q
    set next_at = greatest(q.next_at, clock_timestamp() - interval '${creditS} seconds') + turn.interval_s * interval '1 second'
    from turn where q.provider = turn.provider and turn.wait_s <= 0
  )
  select wait_s::float8 from turn`,
} as const;

/** Takes one query from the pace of all nodes. Returns the seconds to wait if the pace allows none now, and then takes none. */
export async function takeQuery(pool: pg.Pool, provider: string, perMinute: number | undefined): Promise<number> {
  const values = [provider, perMinute === undefined ? null : 60 / perMinute, queriesAtOnce(perMinute)];
  const [row] = await run<{ wait_s: number }>(pool, takeQueryStatement, values);
  return Math.max(0, row?.wait_s ?? 0);
}
