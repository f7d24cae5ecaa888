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

    async succeededShares() {
      const { rows } = await pool.query<{ provider: string; share: number }>(shareStatement).catch((error: unknown) => {
        throw asHubError(error);
      });
      return new Map(rows.map(({ provider, share }) => [provider, share]));
    },
  };
}
