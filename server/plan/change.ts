/**
 * Pauses, resumes and cancels plans. A change applies to the version that was read, so that it misses no instalment that was created
 * meanwhile; else it is tried again.
 */
import type pg from "pg";
import { makePlansDue, planMessageColumns } from "../delivery/plan-message.ts";
import { HubError } from "../errors.ts";
import { run, type Statement } from "../order/statement.ts";
import { nextVersion as nextLinkVersion } from "../payment-link/settle.ts";
import { readNow } from "./clock.ts";
import { firstLookAt } from "./prompt-time.ts";
import { readPlan } from "./read.ts";
import { isEndless, type PlanRow, type PlanStatus } from "./row.ts";
import { daysAfter, indexAfter } from "./schedule.ts";
import { nextVersion } from "./version.ts";

/** $1: the plan. $2: its version. Its instalments stay open, and are neither `past_due` nor followed by others. */
const pauseStatement = {
  name: "pause-plan",
  text: `with changed_plan as (
    update plan p set ${nextVersion("'paused'")}, past_due_at = null, collects_at = null where p.id = $1 and p.version = $2 returning ${planMessageColumns}
  ),
  ${makePlansDue}
  select id from changed_plan`,
} as const;

/**
 * $3: when an instalment that is due now is overdue. $4: the place in the schedule of the next instalment that is not due.
 * $5: when it is looked at, to ask for money.
 */
const resumeStatement = {
  name: "resume-plan",
  text: `with locked_plan as materialized (select id from plan where id = $1 and version = $2 for no key update),
  open_link as (
    update payment_link l set overdue_at = greatest(l.overdue_at, $3::timestamptz) from locked_plan p
    where l.plan_uuid = p.id and l.plan_n is not null and l.status = 'open' returning l.overdue_at
  ),
  changed_plan as (
    update plan p set ${nextVersion("'active'")}, next_index = greatest(p.next_index, $4::int),
      past_due_at = (select min(overdue_at) from open_link), collects_at = $5
    from locked_plan where p.id = locked_plan.id returning ${planMessageColumns}
  ),
  ${makePlansDue}
  select id from changed_plan`,
} as const;

/** Waits for the statements that open orders by its instalments, because a cancelled plan must start no payment. */
const cancelStatement = {
  name: "cancel-plan",
  text: `with locked_plan as materialized (select id from plan where id = $1 and version = $2 for no key update),
  open_link as materialized (
    select l.id from locked_plan p join payment_link l on l.plan_uuid = p.id where l.status = 'open' order by l.plan_n for update of l
  ),
  cancelled_link as (
    update payment_link l set status = 'cancelled', ${nextLinkVersion}, seen_version = l.version + 1
    from open_link where l.id = open_link.id
  ),
  changed_plan as (
    update plan p set ${nextVersion("'cancelled'")}, grows_at = null, past_due_at = null, collects_at = null
    from locked_plan where p.id = locked_plan.id returning ${planMessageColumns}
  ),
  ${makePlansDue}
  select id from changed_plan`,
} as const;

interface Change {
  statement: Statement;
  /** The statuses in which nothing is to change. */
  done: readonly PlanStatus[];
  /** Parameters after the id and the version. */
  values?: (row: PlanRow, now: Date) => unknown[];
}

const pausing: Change = { statement: pauseStatement, done: ["paused"] };
const resuming: Change = { statement: resumeStatement, done: ["active", "past_due"], values: resumption };
const cancelling: Change = { statement: cancelStatement, done: ["cancelled"] };

/** The dates of an endless plan that passed during the pause are skipped. */
function resumption(
  { schedule, time_zone: timeZone, prompt_at: promptAt, grace_days, next_index }: PlanRow,
  now: Date,
): unknown[] {
  const next =
    schedule && isEndless({ schedule })
      ? indexAfter({ firstDueAt: new Date(schedule.firstDueAt), every: schedule.every, timeZone }, now, next_index)
      : next_index;
  return [daysAfter(now, grace_days, timeZone), next, firstLookAt(now, { timeZone, promptAt })];
}

/** More than any race takes: each try loses to another change of the same plan. */
const triesMax = 5;

/** Returns the plan after the change. Throws `plan_unknown`, and `plan_closed` for a plan that has ended. */
async function change(pool: pg.Pool, planId: string, { statement, done, values }: Change): Promise<PlanRow> {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const row = await readPlan(pool, planId);
    if (done.includes(row.status)) return row;
    if (row.status === "completed" || row.status === "cancelled") {
      throw new HubError("plan_closed", `The plan is ${row.status}`);
    }
    const parameters = [row.id, row.version, ...(values ? values(row, await readNow(pool)) : [])];
    if ((await run(pool, statement, parameters)).length > 0) return readPlan(pool, planId);
  }
  throw new HubError("store_unavailable", "The plan is changing too fast; try again", { retryAfterS: 1 });
}

/** A plan that is paused stays as it is. */
export const pausePlan = (pool: pg.Pool, planId: string): Promise<PlanRow> => change(pool, planId, pausing);

/** A plan that is active or past_due stays as it is. */
export const resumePlan = (pool: pg.Pool, planId: string): Promise<PlanRow> => change(pool, planId, resuming);

/** A plan that is cancelled stays as it is. */
export const cancelPlan = (pool: pg.Pool, planId: string): Promise<PlanRow> => change(pool, planId, cancelling);
