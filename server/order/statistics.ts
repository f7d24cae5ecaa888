/** Figures over many payments, for operators. Read when asked for; each is one statement on an index. */
import { asHubError, type Database } from "./database.ts";

/** What waits. */
export interface Backlog {
  /** Payments whose provider is to be asked and that no process has taken yet, counted up to 100,000. */
  due: number;
  /** How long the oldest has been due, in seconds; 0 when there is none. */
  oldestS: number;
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
  text: `select
    (select count(*)::int from (select from payment where check_at <= now() limit 100000) as due) as due,
    coalesce(extract(epoch from now() - (select min(check_at) from payment where check_at <= now())), 0)::float8 as "oldestS",
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
