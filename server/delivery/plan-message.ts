/**
 * Messages about plans. Like those about payment links, they are made due by the statement that changes a plan.
 *
 * The type of a message depends on what the endpoint has acknowledged, because an attempt sends the newest version only: it is the first of
 * these that happened after the acknowledged version and that the endpoint receives: the end of the plan, its start, its current status, a change.
 */
import type pg from "pg";
import { run } from "../order/statement.ts";
import type { Claimed } from "./claim.ts";
import { accepts, makeDue } from "./subject.ts";

/** Adds to a plan `p` and an endpoint `e` what the endpoint has acknowledged, and `m.type`: that of the message now, null for none. */
const messageType = `
      cross join timeline t
      -- One index probe for each pair: PostgreSQL would read the whole table for many.
      left join lateral (
        select acked_epoch, acked_version, due_version from delivery where endpoint_id = e.id and subject_id = p.id offset 0
      ) d on true
      cross join lateral (select coalesce(case when d.acked_epoch = t.epoch then d.acked_version end, 0) as acked) a
      cross join lateral (
        select case when p.version > acked then (
          select type from (values
            (1, case when p.status in ('completed', 'cancelled') then entered end),
            (2, case when p.started_version > acked and p.started_at >= e.created_at then 'plan.started' end),
            (3, entered),
            (4, 'plan.updated')
          ) candidate (rank, type)
          where type is not null and ${accepts("type")} order by rank limit 1
        ) end as type
        from (select case when p.status_version > acked and p.status_at >= e.created_at then 'plan.' || p.status end as entered) current
      ) m`;

/** The columns of a plan by which the type of its message is chosen. */
export const planMessageColumns =
  "p.id, p.version, p.status, p.status_version, p.status_at, p.started_version, p.started_at";

/** Makes the new versions of `changed_plan` (`planMessageColumns`) due, in the statement that has this common table expression. */
export const makePlansDue = `due as (
    select e.id as endpoint_id, 'plan' as kind, p.id as subject_id, p.version, false as is_replay, d.due_version as replaced
    from changed_plan p
      join endpoint e on not e.is_deleted
      ${messageType}
    where m.type is not null
  ),
  ${makeDue}`;

/** A plan as it is now. */
export interface PlanState {
  id: string;
  epoch: number;
  version: number;
  status: string;
  /** The version that entered the status, and when. */
  statusVersion: number;
  statusAt: Date;
  /** The version with the first paid instalment, and when; null: there is none. */
  startedVersion: number | null;
  startedAt: Date | null;
  /** When the plan changed. */
  occurredAt: Date;
  /** As the merchant sees it. */
  plan: object;
}

/** Reads the plans that exist, in no order. Throws `store_unavailable`. */
export type ReadPlans = (ids: readonly string[]) => Promise<PlanState[]>;

/** $1, $2: endpoints and plans, in pairs. $3: the plans' states as JSON, so that type and message are of one version. */
const typeStatement = {
  name: "plan-message-types",
  text: `select e.id || p.id::text as pair, m.type
    from unnest($1::uuid[], $2::uuid[]) as claimed (endpoint_id, subject_id)
      join jsonb_to_recordset($3::jsonb) as p (id uuid, version int, status text, status_version int, status_at timestamptz,
        started_version int, started_at timestamptz) on p.id = claimed.subject_id
      join endpoint e on e.id = claimed.endpoint_id
      ${messageType}
    where m.type is not null`,
} as const;

/** The plans of claimed deliveries, and the type of the message that each endpoint receives; undefined: none. Throws `store_unavailable`. */
export async function readClaimedPlans(
  pool: pg.Pool,
  claimed: readonly Claimed[],
  readPlans: ReadPlans,
): Promise<{ claimed: Claimed; state: PlanState | undefined; type: string | undefined }[]> {
  const states = await readPlans([...new Set(claimed.map(({ subjectId }) => subjectId))]);
  const rows = await run<{ pair: string; type: string }>(pool, typeStatement, [
    claimed.map(({ endpointId }) => endpointId),
    claimed.map(({ subjectId }) => subjectId),
    JSON.stringify(states.map(toRecord)),
  ]);
  const found = new Map(states.map((state) => [state.id, state]));
  const types = new Map(rows.map(({ pair, type }) => [pair, type]));
  return claimed.map((one) => ({
    claimed: one,
    state: found.get(one.subjectId),
    type: types.get(one.endpointId + one.subjectId),
  }));
}

const toRecord = (state: PlanState) => ({
  id: state.id,
  version: state.version,
  status: state.status,
  status_version: state.statusVersion,
  status_at: state.statusAt,
  started_version: state.startedVersion,
  started_at: state.startedAt,
});
