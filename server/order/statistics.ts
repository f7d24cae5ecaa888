/** Figures over many payments, for operators. Read when asked for; each is one statement on an index. */
import { asHubError, type Database } from "./database.ts";

/** Payments whose provider is to be asked and that no process has taken yet. */
export interface Backlog {
  /** Counted up to 100,000. */
  due: number;
  /** How long the oldest has been due, in seconds; 0 when there is none. */
  oldestS: number;
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

const backlogStatement = {
  name: "backlog",
  text: `select
    (select count(*)::int from (select from payment where check_at <= now() limit 100000) as due) as due,
    coalesce(extract(epoch from now() - (select min(check_at) from payment where check_at <= now())), 0)::float8 as "oldestS"`,
  // After at most a second of waiting for a connection.
  query_timeout: 500,
} as const;

/**
 * A payment's order changed when it was started or later, and orders are indexed by that; payments by their order,
 * probed one by one (`offset 0`), so that a day is read and never the table.
 */
const shareStatement = {
  name: "succeeded-share",
  text: `select p.provider, avg(case when p.status = 'succeeded' then 1 else 0 end)::float8 as share
    from "order" o
    join lateral (select provider, status, started_at from payment where order_uuid = o.id offset 0) p on true
    where o.changed_at >= now() - interval '24 hours' and p.started_at >= now() - interval '24 hours'
      and p.status not in ('pending', 'processing')
    group by p.provider`,
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
