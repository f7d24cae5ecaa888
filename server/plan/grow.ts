/**
 * Creates the next instalments of endless plans. A plan has one instalment that is not due yet, so that it can be paid ahead, and no more,
 * so that links stay few. A node that was down creates all that are missing.
 *
 * Guarantees: any number of nodes may do it at once. The statement locks the plan and creates the instalment only for the place in the
 * schedule that the plan is at, so that none is skipped and none is created twice.
 */
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import { makePlansDue, planMessageColumns } from "../delivery/plan-message.ts";
import { run } from "../order/statement.ts";
import type { DueInstalment } from "./draft.ts";
import { insertInstalments, instalmentRows, planNames, toRecords } from "./instalment.ts";
import { firstLookAt } from "./prompt-time.ts";
import type { PlanRow } from "./row.ts";
import { daysAfter, dueAtOf } from "./schedule.ts";
import { nextVersion } from "./version.ts";

/** Plans of one pass. */
const batch = 100;

/** Numbers that one statement looks at: those whose order ids others have are skipped. */
const numbersMax = 100;

const growingStatement = {
  name: "read-growing-plans",
  text: `select id, schedule, time_zone, prompt_at, grace_days, next_index, plan_now() as now from plan
    where grows_at <= plan_now() and status in ('active', 'past_due') order by grows_at limit ${batch}`,
} as const;

/** $1: the plan. $2: its place in the schedule. $3: the instalment there. $4: when it is looked at, to ask for money. */
const growStatement = {
  name: "grow-plan",
  text: `with growing as materialized (
    select ${planNames.join(", ")}, next_n from plan
    where id = $1 and next_index = $2 and grows_at <= plan_now() and status in ('active', 'past_due') for no key update
  ),
  free as materialized (
    select number.n from growing g cross join lateral (
      select n from generate_series(g.next_n, g.next_n + ${numbersMax - 1}) as n
      where may_create_link(g.plan_id || '-' || n)
        and not exists (select from payment_link other where other.order_id = g.plan_id || '-' || n offset 0)
      limit 1
    ) number
  ),
  instalment as materialized (select i.*, free.n from free cross join (${instalmentRows("$3")}) i),
  ${insertInstalments("growing")},
  changed_plan as (
    update plan p set ${nextVersion("p.status")}, next_n = i.n + 1, next_index = p.next_index + 1, grows_at = i.due_at,
      collects_at = least(p.collects_at, $4::timestamptz), past_due_at = case when p.status = 'active' then least(p.past_due_at, i.overdue_at) end
    from growing g cross join instalment i where p.id = g.id
    returning ${planMessageColumns}
  ),
  ${makePlansDue}
  select id from changed_plan`,
} as const;

type GrowingRow = Pick<PlanRow, "id" | "schedule" | "time_zone" | "prompt_at" | "grace_days" | "next_index"> & {
  now: Date;
};

/** Creates one instalment of each plan that is due to grow. Returns how many, and whether more may be due. Throws `store_unavailable`. */
export async function growDuePlans(pool: pg.Pool, sealer: Sealer): Promise<{ changed: number; isUnfinished: boolean }> {
  const plans = await run<GrowingRow>(pool, growingStatement, []);
  let changed = 0;
  for (const plan of plans) {
    const instalment = nextInstalment(plan);
    if (!instalment) continue;
    const [record] = toRecords(sealer, [instalment]);
    const look = firstLookAt(plan.now, { timeZone: plan.time_zone, promptAt: plan.prompt_at });
    changed += (await run(pool, growStatement, [plan.id, plan.next_index, JSON.stringify([record]), look])).length;
  }
  // Once more after a change, because the new instalment may be due as well.
  return { changed, isUnfinished: changed > 0 };
}

function nextInstalment({
  schedule,
  time_zone: timeZone,
  grace_days,
  next_index,
}: GrowingRow): DueInstalment | undefined {
  if (schedule?.amountMinor === undefined) return undefined;
  const dueAt = dueAtOf({ firstDueAt: new Date(schedule.firstDueAt), every: schedule.every, timeZone }, next_index);
  return { dueAt, overdueAt: daysAfter(dueAt, grace_days, timeZone), amountMinor: schedule.amountMinor };
}
