/** Figures over many payments, for operators. Each is one statement on an index. */
import type pg from "pg";
import { asHubError, type Database } from "../database/pool.ts";
import { dueProviders, usedProviders } from "./claim-due.ts";
import { halvingsNow } from "./query-pace.ts";

export interface ProviderBacklog {
  provider: string;
  due: number;
  /** Seconds since the oldest became due; 0 when there is none. */
  oldestS: number;
  /** Halvings of its pace in force. */
  halvings: number;
}

/** Stored work that waits. Counts stop at a maximum, because a scrape must be short. */
export interface Backlog {
  /** By provider: due payments that no process has claimed yet, at most 20,000. */
  queries: readonly ProviderBacklog[];
  /** Proven webhooks that are stored and not applied yet, at most 10,000. */
  unapplied: number;
  /** Orders in review, at most 10,000. */
  inReview: number;
}

export interface Statistics {
  /** Returns or throws within 1.5 s. */
  backlog(): Promise<Backlog>;
  /**
   * By provider: the share of successes among the payments that were started in the last 24 hours and have settled. Of more than
   * 20,000 payments of a provider only the newest 20,000 count. The result may be 30 s old. Throws `store_unavailable`.
   */
  succeededShares(): Promise<ReadonlyMap<string, number>>;
}

/** Rows that one count reads. 10,000, because the statement must end in time, and an alert needs no exact number beyond that. */
const countMax = 10_000;

const backlogStatement = {
  text: `with recursive ${dueProviders},
    queries as (
      select d.provider, opened.due + settled.due as due, coalesce(${halvingsNow("q")}, 0) as halvings,
        coalesce(extract(epoch from now() - least(opened.oldest, settled.oldest)), 0)::float8 as "oldestS"
      from due_provider d
        left join query_pace q on q.provider = d.provider
        cross join lateral (select count(*)::int as due, min(check_at) as oldest from (
          select check_at from payment where provider = d.provider and is_open(status) and check_at <= now()
          order by check_at limit ${countMax}) p) opened
        cross join lateral (select count(*)::int as due, min(check_at) as oldest from (
          select check_at from payment where provider = d.provider and is_open(status) is false and check_at <= now()
          order by check_at limit ${countMax}) p) settled
      where d.provider is not null
    )
    select
    coalesce((select json_agg(queries order by provider) from queries), '[]') as queries,
    (select count(*)::int from (select from webhook where offer_at is not null order by offer_at limit ${countMax}) as waiting) as unapplied,
    (select count(*)::int from (select from "order" where status = 'review' order by opened_at limit ${countMax}) as waiting) as "inReview"`,
  // 0.5 s, because waiting for a connection may take another second.
  query_timeout: 500,
} as const;

/** Payments that a provider's share is made of. 20,000, because the statement must not take seconds on a day with more. */
const sharedPaymentsMax = 20_000;

/** Reads one day of payments at most, never the whole table. */
const shareStatement = {
  text: `with recursive ${usedProviders}
    select u.provider, avg(case when recent.status = 'succeeded' then 1 else 0 end)::float8 as share
    from used_provider u cross join lateral (
      select status from payment where provider = u.provider and started_at >= now() - interval '24 hours'
      order by started_at desc limit ${sharedPaymentsMax}
    ) recent
    where not is_open(recent.status)
    group by u.provider`,
} as const;

/** 30 s, because the statement may take a few hundred milliseconds, and a share of a day changes little in that time. */
const sharesMs = 30_000;

/** `nowMs` is a monotonic clock. */
export function createStatistics({ pool }: Database, nowMs: () => number = () => performance.now()): Statistics {
  let shares: { read: Promise<ReadonlyMap<string, number>>; sinceMs: number } | undefined;

  /** Runs at most one statement at a time, whatever the number of callers. The next caller after a failure reads again. */
  const sharedRead = (): Promise<ReadonlyMap<string, number>> => {
    if (shares && nowMs() - shares.sinceMs < sharesMs) return shares.read;
    const started = { read: readShares(pool), sinceMs: nowMs() };
    shares = started;
    started.read.catch(() => {
      if (shares === started) shares = undefined;
    });
    return started.read;
  };

  return {
    async backlog() {
      const [row] = await readInOrder<Backlog>(pool, backlogStatement);
      if (!row) throw new Error("backlog always returns one row");
      return row;
    },

    succeededShares: sharedRead,
  };
}

async function readShares(pool: pg.Pool): Promise<ReadonlyMap<string, number>> {
  const read = readInOrder<{ provider: string; share: number }>(pool, shareStatement);
  const rows = await read.catch((error: unknown) => {
    throw asHubError(error);
  });
  return new Map(rows.map(({ provider, share }) => [provider, share]));
}

/** With a bitmap scan PostgreSQL would read all entries of an index first, as it expects fewer rows than the limit. */
const inOrder = "set local enable_bitmapscan = off; set local enable_seqscan = off;";

/** Runs a statement whose limits are in the order of indexes, so that it reads no row beyond them. */
async function readInOrder<Row extends object>(pool: pg.Pool, { text, ...options }: pg.QueryConfig): Promise<Row[]> {
  // The statements of one message are one transaction. pg returns the result of each.
  const results: unknown = await pool.query({ ...options, text: `${inOrder} ${text}` });
  return (results as pg.QueryResult<Row>[]).at(-1)?.rows ?? [];
}
