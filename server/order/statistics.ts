/** Figures over many payments, for operators. Read when asked for; each is one statement on an index. */
import { asHubError, type Database } from "../database/pool.ts";
import { dueProviders, open } from "./due.ts";
import { halvingsNow } from "./query-pace.ts";

export interface ProviderBacklog {
  provider: string;
  due: number;
  /** How long the oldest has been due, in seconds; 0 when there is none. */
  oldestS: number;
  /** How often its pace is halved, because it was asked too often. */
  halvings: number;
}

/** Work that is stored and not done yet. */
export interface Backlog {
  /** By provider: payments that it is to be asked about and that no process has taken yet, counted up to 200,000. */
  queries: readonly ProviderBacklog[];
  /** Proven webhooks that are kept and not applied yet, counted up to 100,000. */
  unapplied: number;
  /** Orders that wait for a person's decision, counted up to 100,000. */
  inReview: number;
}

export interface Statistics {
  /** Answers or throws within 1.5 s. */
  backlog(): Promise<Backlog>;
  /**
   * Orders that break a promise: of those that changed last, whose versions have a gap or whose success was taken back;
   * of those that are open longest, who are open past twice their deadline without being due to be asked about.
   */
  broken(): Promise<{ promise: "version_skipped" | "success_taken_back" | "check_missing"; id: string }[]>;
  /**
   * Of the payments that were started in the last 24 hours and have settled, the share that succeeded, by provider.
   * A provider without such a payment has no entry.
   */
  succeededShares(): Promise<ReadonlyMap<string, number>>;
}

export const backlogStatement = {
  name: "backlog",
  text: `with recursive ${dueProviders},
    queries as (
      select d.provider, opened.due + settled.due as due, coalesce(${halvingsNow("q")}, 0) as halvings,
        coalesce(extract(epoch from now() - least(opened.oldest, settled.oldest)), 0)::float8 as "oldestS"
      from due_provider d
        left join query_pace q on q.provider = d.provider
        cross join lateral (select count(*)::int as due, min(check_at) as oldest from (
          select check_at from payment where provider = d.provider and ${open} and check_at <= now() limit 100000) p) opened
        cross join lateral (select count(*)::int as due, min(check_at) as oldest from (
          select check_at from payment where provider = d.provider and (${open}) is false and check_at <= now()
          limit 100000) p) settled
      where d.provider is not null
    )
    select
    coalesce((select json_agg(queries order by provider) from queries), '[]') as queries,
    (select count(*)::int from (select from webhook where offer_at is not null limit 100000) as waiting) as unapplied,
    (select count(*)::int from (select from "order" where status = 'review' limit 100000) as waiting) as "inReview"`,
  // After at most a second of waiting for a connection.
  query_timeout: 500,
} as const;

/** A few hundred orders by index, whatever the size of the tables. */
export const brokenStatement = {
  name: "broken",
  text: `with recent as materialized (
      select id, version, status from "order" where changed_at > now() - interval '5 minutes' order by changed_at desc limit 300
    ),
    held as materialized (
      select id, attempt from "order" where status in ('pending', 'processing') order by opened_at limit 300
    )
    select case when e.was_paid and r.status <> 'succeeded' then 'success_taken_back' else 'version_skipped' end as promise, r.id
    from recent r cross join lateral (
      select count(*) as events, max(version) as newest, bool_or(status = 'succeeded') as was_paid
      from event where order_uuid = r.id) e
    where e.was_paid and r.status <> 'succeeded' or e.events <> r.version or e.newest <> r.version
    union all
    select 'check_missing', h.id from held h
      join lateral (select * from payment where order_uuid = h.id and attempt = h.attempt offset 0) p on true
    where p.status in ('pending', 'processing') and now() > p.expires_at + (p.expires_at - p.started_at)
      and (p.check_at is null or p.check_at > now() + interval '5 minutes')`,
  query_timeout: 500,
} as const;

/** Reads a day of payments, never the table. */
export const shareStatement = {
  name: "succeeded-share",
  text: `select provider, avg(case when status = 'succeeded' then 1 else 0 end)::float8 as share
    from payment
    where started_at >= now() - interval '24 hours' and status not in ('pending', 'processing')
    group by provider`,
} as const;

export function createStatistics({ pool }: Database): Statistics {
  return {
    async backlog() {
      const { rows } = await pool.query<Backlog>(backlogStatement);
      if (!rows[0]) throw new Error("backlog always answers one row");
      return rows[0];
    },

    async broken() {
      const { rows } = await pool.query<Awaited<ReturnType<Statistics["broken"]>>[number]>(brokenStatement);
      return rows;
    },

    async succeededShares() {
      const { rows } = await pool.query<{ provider: string; share: number }>(shareStatement).catch((error: unknown) => {
        throw asHubError(error);
      });
      return new Map(rows.map(({ provider, share }) => [provider, share]));
    },
  };
}
