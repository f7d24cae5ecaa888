/** Reads plans. A plan that is due is settled first, so that no read shows an older state than the database implies. */
import type pg from "pg";
import { newestPlace, readCursor, rowPlace, writeCursor } from "../cursor.ts";
import { HubError } from "../errors.ts";
import { run } from "../order/statement.ts";
import { settleDue } from "../payment-link/settle.ts";
import { type PlanRow, type PlanStatus, selectPlans } from "./row.ts";
import { settleDuePlans, settlePlan, unsettledLinks } from "./settle.ts";

/** Whether the plan `p` shows what the database implies. */
const isSettled = `coalesce(p.past_due_at > plan_now(), true)
      and not exists (select from payment_link l where l.plan_uuid = p.id and l.seen_version <> l.version)
      and not exists (${unsettledLinks})`;

const withSettled = (...further: string[]): string => selectPlans(`${isSettled} as is_settled`, ...further);

type ReadRow = PlanRow & { is_settled: boolean };

/** $1: ids. */
const statesStatement = { name: "read-plan-states", text: `${withSettled()} where p.id = any ($1::uuid[])` } as const;

/** Two, because an instalment may change while the plan is read. After them the plan is shown as it is, and its next version follows. */
const settlingMax = 2;

/**
 * Returns a function that reads the plan `p` for which `condition` holds with the parameter $1; undefined for none. `further`: columns
 * besides those of `PlanRow`.
 */
export function readSettled<R extends PlanRow = PlanRow>({
  name,
  condition,
  further = [],
}: {
  name: string;
  condition: string;
  further?: readonly string[];
}): (pool: pg.Pool, key: string | Buffer) => Promise<R | undefined> {
  const statement = { name, text: `${withSettled(...further)} where ${condition}` };
  return async (pool, key) => {
    for (let settled = 0; ; settled += 1) {
      const [row] = await run<R & ReadRow>(pool, statement, [key]);
      if (!row || row.is_settled || settled === settlingMax) return row;
      await settlePlan(pool, row.id);
    }
  };
}

const findPlan = readSettled({ name: "read-plan", condition: "p.plan_id = $1" });

/** Throws `plan_unknown`. */
export async function readPlan(pool: pg.Pool, planId: string): Promise<PlanRow> {
  const row = await findPlan(pool, planId);
  if (!row) throw new HubError("plan_unknown");
  return row;
}

/** Those plans that exist, in no order. */
export async function readPlanStates(pool: pg.Pool, ids: readonly string[]): Promise<PlanRow[]> {
  for (let settled = 0; ; settled += 1) {
    const rows = await run<ReadRow>(pool, statesStatement, [ids]);
    const unsettled = rows.filter((row) => !row.is_settled);
    if (unsettled.length === 0 || settled === settlingMax) return rows;
    for (const { id } of unsettled) await settlePlan(pool, id);
  }
}

/** $1: the limit. $2, $3: the place, from which on older plans are read. */
const listStatement = {
  name: "list-plans",
  text: `${selectPlans()} where (p.created_at, p.id) < ($2::timestamptz, $3::uuid) order by p.created_at desc, p.id desc limit $1`,
} as const;

/** $4: the status, as a range of one value, so that only the index by status has the order. */
const listByStatusStatement = {
  name: "list-plans-by-status",
  text: `${selectPlans()}
    where p.status >= $4 and p.status <= $4 and (p.created_at, p.id) < ($2::timestamptz, $3::uuid)
    order by p.status desc, p.created_at desc, p.id desc limit $1`,
} as const;

export interface PlanFilter {
  status?: PlanStatus | undefined;
  cursor?: string | undefined;
  limit: number;
}

/** Newest first. Throws `body_invalid` for a cursor that no list returned. */
export async function listPlans(
  pool: pg.Pool,
  { status, cursor, limit }: PlanFilter,
): Promise<{ rows: PlanRow[]; nextCursor: string | null }> {
  const place = cursor === undefined ? newestPlace : readCursor(rowPlace, cursor);
  await settleDue(pool);
  await settleDuePlans(pool);
  const values = [limit + 1, ...place];
  const found = await (status === undefined
    ? run<PlanRow>(pool, listStatement, values)
    : run<PlanRow>(pool, listByStatusStatement, [...values, status]));
  const rows = found.slice(0, limit);
  const last = found.length > limit ? rows.at(-1) : undefined;
  return { rows, nextCursor: last ? writeCursor([last.created_at, last.id]) : null };
}
