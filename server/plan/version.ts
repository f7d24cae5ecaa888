/** The columns that every change of a plan `p` sets. */

const now = "greatest(date_trunc('milliseconds', clock_timestamp()), p.changed_at)";

/** The next version, with this status (an SQL expression). */
export const nextVersion = (status: string): string => `version = p.version + 1, status = ${status},
      status_version = case when p.status = ${status} then p.status_version else p.version + 1 end,
      status_at = case when p.status = ${status} then p.status_at else ${now} end, changed_at = ${now}`;

/** Marks the plan as started, in the same update, if it was not and the condition holds. */
export const startedIf = (condition: string): string =>
  `started_version = case when p.started_version is null and ${condition} then p.version + 1 else p.started_version end,
      started_at = case when p.started_version is null and ${condition} then ${now} else p.started_at end`;
