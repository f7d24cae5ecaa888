/** Figures over many payments, for operators. Each is one statement on an index. */
import type pg from "pg";
import type { Database } from "../database/pool.ts";
import { dueProviders } from "./claim-due.ts";
import { halvingsNow } from "./query-pace.ts";
import { run } from "./statement.ts";

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
  /** By provider: due payments that no process has claimed yet, at most 200,000. */
  queries: readonly ProviderBacklog[];
  /** Proven webhooks that are stored and not applied yet, at most 100,000. */
  unapplied: number;
  /** Orders in review, at most 100,000. */
  inReview: number;
}

export interface Statistics {
  /** Returns or throws within 1.5 s. */
  backlog(): Promise<Backlog>;
  /**
   * By provider: the share of successes among the payments that were started in the last 24 hours and have settled. Of more than
   * 100,000 payments only the newest 100,000 count. The result may be 30 s old. Throws `store_unavailable`.
   */
  succeededShares(): Promise<ReadonlyMap<string, number>>;
}

const backlogStatement = {
  name: "backlog",
  text: `with recursive ${dueProviders},
    queries as (
      select d.provider, opened.due + settled.due as due, coalesce(${halvingsNow("q")}, 0) as halvings,
        coalesce(extract(epoch from now() - least(opened.oldest, settled.oldest)), 0)::float8 as "oldestS"
      from due_provider d
        left join query_pace q on q.provider = d.provider
        cross join lateral (select count(*)::int as due, min(check_at) as oldest from (
          select check_at from payment where provider = d.provider and is_open(status) and check_at <= now() limit 100000) p) opened
        cross join lateral (select count(*)::int as due, min(check_at) as oldest from (
          select check_at from payment where provider = d.provider and is_open(status) is false and check_at <= now()
          limit 100000) p) settled
      where d.provider is not null
    )
    select
    coalesce((select json_agg(queries order by provider) from queries), '[]') as queries,
    (select count(*)::int from (select from webhook where offer_at is not null limit 100000) as waiting) as unapplied,
    (select count(*)::int from (select from "order" where status = 'review' limit 100000) as waiting) as "inReview"`,
  // 0.5 s, because waiting for a connection may take another second.
  query_timeout: 500,
} as const;

/** Payments that the shares are made of. 100,000, because the statement must not take seconds on a day with more. */
const sharedPaymentsMax = 100_000;

/** Reads one day of payments at most, never the whole table. */
const shareStatement = {
  name: "succeeded-share",
  text: `select provider, avg(case when status = 'succeeded' then 1 else 0 end)::float8 as share
    from (
      select provider, status from payment where started_at >= now() - interval '24 hours'
      order by started_at desc limit ${sharedPaymentsMax}
    ) recent
    where not is_open(status)
    group by provider`,
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
      const { rows } = await pool.query<Backlog>(backlogStatement);
      if (!rows[0]) throw new Error("backlog always returns one row");
      return rows[0];
    },

    succeededShares: sharedRead,
  };
}

async function readShares(pool: pg.Pool): Promise<ReadonlyMap<string, number>> {
  const rows = await run<{ provider: string; share: number }>(pool, shareStatement, []);
  return new Map(rows.map(({ provider, share }) => [provider, share]));
}
