/**
 * Creates plans. One statement checks and locks the order ids of the instalments and, for a customer's credit, the customer. It creates
 * the plan with its first instalments, or nothing.
 */
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import type { Sealer } from "../auth/keys.ts";
import { sqlState } from "../database/pool.ts";
import { makePlansDue, planMessageColumns } from "../delivery/plan-message.ts";
import { HubError } from "../errors.ts";
import { columns } from "../order/row.ts";
import { run } from "../order/statement.ts";
import type { PlanDraft } from "./draft.ts";
import { insertInstalments, instalmentRows, planNames, toRecords } from "./instalment.ts";
import { newPlanToken } from "./token.ts";

/** The columns that come from the request, with PostgreSQL's types. */
const draftFields = {
  id: "uuid",
  plan_id: "text",
  kind: "text",
  customer: "jsonb",
  provider: "text",
  currency: "text",
  description: "text",
  metadata: "jsonb",
  lang: "text",
  schedule: "jsonb",
  time_zone: "text",
  prompt_at: "text",
  remind_days_before: "int[]",
  grace_days: "int",
  next_n: "int",
  next_index: "int",
  grows_at: "timestamptz",
  past_due_at: "timestamptz",
  collects_at: "timestamptz",
  token_hash: "bytea",
  token: "bytea",
} as const;

const names = Object.keys(draftFields).join(", ");

type Fault = "key" | "plan" | "order" | "credit";

/**
 * $1: the record with `draftFields`. $2: the instalments. $3: the idempotency key. $4: the request as JSON. $5: the credit limit, or null.
 * Fails with a unique violation when two requests with one key or one plan id race, or another link gets an order id meanwhile. The
 * checks stop at the first fault, so that a refused request takes no further lock.
 */
const createStatement = {
  name: "create-plan",
  text: `with draft as materialized (
    select ${names} from jsonb_to_record($1::jsonb) as draft (${Object.entries(draftFields)
      .map((field) => field.join(" "))
      .join(", ")})
  ),
  instalment as materialized (select i.*, i.place as n from (${instalmentRows("$2")}) i),
  checked as materialized (
    select case
      when $3::text is not null and exists (select from plan_key where key = $3) then 'key'
      when exists (select from plan where plan_id = draft.plan_id) then 'plan'
      when not (select bool_and(may_create_link(draft.plan_id || '-' || n)
          and not exists (select from payment_link other where other.order_id = draft.plan_id || '-' || n offset 0))
        from instalment) then 'order'
      when $5::bigint is not null
        and unpaid_instalments(customer, currency) + (select sum(amount_minor) from instalment) > $5 then 'credit'
      end as fault
    from draft
  ),
  created_plan as (
    insert into plan as p (${names}) select ${names} from draft where (select fault from checked) is null
    returning ${columns("p", planNames)}, ${planMessageColumns.replace("p.id, ", "")}, p.created_at
  ),
  ${insertInstalments("created_plan")},
  kept_key as (
    insert into plan_key (key, request, plan_uuid, created_at)
    select $3, sha256(convert_to($4::jsonb::text, 'UTF8')), id, created_at from created_plan where $3::text is not null
  ),
  changed_plan as (select ${planMessageColumns} from created_plan p),
  ${makePlansDue}
  select fault from checked`,
} as const;

/** Reads an idempotency key: whether the request was the same, and the key has expired. */
const keyStatement = {
  name: "read-plan-key",
  text: `select request = sha256(convert_to($2::jsonb::text, 'UTF8')) as is_same,
      created_at < clock_timestamp() - interval '72 hours' as is_expired
    from plan_key where key = $1`,
} as const;

const deleteKeyStatement = {
  name: "delete-plan-key",
  text: "delete from plan_key where key = $1 and created_at < clock_timestamp() - interval '72 hours'",
} as const;

export interface CreateOptions {
  pool: pg.Pool;
  sealer: Sealer;
  /** The most that a customer may owe on instalments, in minor units of each currency. Absent: any amount. */
  creditMaxMinor?: number | undefined;
}

/** Three, because an expired key is deleted first, and another request may take it meanwhile. */
const attemptsMax = 3;

/**
 * Returns whether the idempotency key was used before, so that nothing was created. Throws `plan_exists`, `order_mismatch` if an
 * instalment's order id is in use, `credit_exceeded` and `idempotency_mismatch`.
 */
export async function createPlan(
  options: CreateOptions,
  draft: PlanDraft,
  idempotencyKey?: string,
): Promise<{ isReplayed: boolean }> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const fault = await tryToCreate(options, draft, idempotencyKey);
    if (fault === undefined) return { isReplayed: false };
    const used = idempotencyKey === undefined ? "free" : await readKey(options.pool, idempotencyKey, draft);
    if (used === "same") return { isReplayed: true };
    if (used === "free" && fault !== "key") throw errorOf(fault, draft, options);
  }
  throw new HubError("store_unavailable", "The idempotency key is changing too fast; try again", { retryAfterS: 1 });
}

async function tryToCreate(
  { pool, sealer, creditMaxMinor }: CreateOptions,
  draft: PlanDraft,
  idempotencyKey: string | undefined,
): Promise<Fault | undefined> {
  const rows = await run<{ fault: Fault | null }>(pool, createStatement, [
    JSON.stringify(recordOf(draft, sealer)),
    JSON.stringify(toRecords(sealer, draft.instalments)),
    idempotencyKey,
    draft.request,
    draft.kind === "instalments" ? creditMaxMinor : undefined,
  ]).catch(faultIfRaced);
  return rows[0]?.fault ?? undefined;
}

const recordOf = (draft: PlanDraft, sealer: Sealer, id = uuidv7()): Record<keyof typeof draftFields, unknown> => ({
  id,
  ...newPlanToken(sealer, id),
  plan_id: draft.planId,
  kind: draft.kind,
  customer: draft.customer,
  provider: draft.provider,
  currency: draft.currency,
  description: draft.description,
  metadata: draft.metadata,
  lang: draft.lang,
  schedule: draft.schedule,
  time_zone: draft.timeZone,
  prompt_at: draft.promptAt,
  remind_days_before: draft.remindDaysBefore,
  grace_days: draft.graceDays,
  next_n: draft.instalments.length + 1,
  next_index: draft.instalments.length,
  grows_at: draft.isEndless ? draft.instalments.at(-1)?.dueAt : undefined,
  past_due_at: draft.instalments[0]?.overdueAt,
  collects_at: draft.collectsAt,
});

/** The unique constraints that a concurrent request may violate. */
const constraints: ReadonlyMap<unknown, Fault> = new Map([
  ["plan_key_pkey", "key"],
  ["plan_plan_id_key", "plan"],
  ["payment_link_order_id_key", "order"],
]);

function faultIfRaced(error: unknown): { fault: Fault }[] {
  const fault = constraints.get((error as { constraint?: unknown }).constraint);
  if (sqlState(error) === "23505" && fault) return [{ fault }];
  throw error;
}

/** Whether the key has created this plan. Throws `idempotency_mismatch` for another request. */
async function readKey(pool: pg.Pool, key: string, draft: PlanDraft): Promise<"same" | "free" | "expired"> {
  type KeyRow = { is_same: boolean; is_expired: boolean };
  const [used] = await run<KeyRow>(pool, keyStatement, [key, draft.request]);
  if (!used) return "free";
  if (used.is_expired) {
    await run(pool, deleteKeyStatement, [key]);
    return "expired";
  }
  if (!used.is_same) throw new HubError("idempotency_mismatch");
  return "same";
}

function errorOf(
  fault: Exclude<Fault, "key">,
  { planId, currency }: PlanDraft,
  { creditMaxMinor }: CreateOptions,
): HubError {
  if (fault === "plan") return new HubError("plan_exists");
  if (fault === "order") {
    return new HubError(
      "order_mismatch",
      `An order or a payment link has the id of an instalment, such as ${planId}-1`,
    );
  }
  return new HubError(
    "credit_exceeded",
    `The customer would owe more than ${creditMaxMinor} minor units of ${currency}`,
  );
}
