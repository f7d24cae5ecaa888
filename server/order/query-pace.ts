/**
 * How fast each provider is asked, by all nodes together: a row for each provider whose pace is limited. Its `next_at` is
 * the moment from which the next query may be sent (GCRA, the leaky bucket as a meter). A provider that says it was asked
 * too often has its pace halved, again and again, and gets it back step by step.
 */

/** A halving ends after so many seconds, because providers count their limits by the minute. */
const halvingS = 120;

/** The pace is halved once within so many seconds, because queries that are in flight together are refused together. */
const togetherS = 5;

/** At most a 256th of the usual pace. */
const halvingsMax = 8;

/** The assumed interval of a provider without a configured pace, once it answers that it was asked too often: five queries a second, as in Safaricom's own message. */
const assumedIntervalS = 0.2;

/** How long a provider is not asked after such an answer without `Retry-After`. */
export const restS = 10;

/** The longest `Retry-After` that is heeded, because a wrong one must not stop all queries for days. */
export const restMaxS = 600;

/** How often the pace of a row of `query_pace` is halved at this moment. */
export const halvingsNow = (row: string): string =>
  `greatest(0, ${row}.halvings - floor(extract(epoch from clock_timestamp() - ${row}.halved_at) / ${halvingS})::int)`;

/** Seconds between two queries, given how often the usual pace is halved; null: as fast as they come. */
export const intervalNow = (usualS: string, halvings: string): string =>
  `case when ${halvings} > 0 then coalesce(${usualS}, ${assumedIntervalS}) * 2 ^ ${halvings} else ${usualS} end`;

/** The same in a minute: how many queries a provider is asked now; undefined: as many as are due. */
export function queriesPerMinute(usual: number | undefined, halvings: number): number | undefined {
  return halvings > 0 ? (usual ?? 60 / assumedIntervalS) / 2 ** halvings : usual;
}

/** Makes the rows of providers with a pace of their own, so that claims lock them. */
export const preparePaceStatement = {
  name: "prepare-pace",
  text: `insert into query_pace (provider, next_at) select unnest($1::text[]), clock_timestamp() on conflict do nothing`,
} as const;

/** Provider $1 was asked too often, and wants to be left alone for $2 seconds. */
export const slowStatement = {
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
