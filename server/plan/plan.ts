/** Plans, as the routes use them. */
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import type { ReadPlans } from "../delivery/plan-message.ts";
import type { StatusEvent } from "../order/order.ts";
import type { StartPayment } from "../payment/start.ts";
import { urlOf } from "../payment-link/payment-link.ts";
import type { LinkRow } from "../payment-link/row.ts";
import type { Provider } from "../provider/provider.ts";
import { cancelPlan, pausePlan, resumePlan } from "./change.ts";
import { readNow } from "./clock.ts";
import { linkUpTo } from "./cover.ts";
import { createPlan } from "./create.ts";
import { readPlanDraft } from "./draft.ts";
import { payPlan } from "./pay.ts";
import { listPlans, type PlanFilter, readPlan, readPlanStates } from "./read.ts";
import { type Plan, type PlanRow, toPlan } from "./row.ts";

/** Every method throws `store_unavailable` when PostgreSQL cannot be reached or is too busy. */
export interface Plans {
  /** Throws the errors that `POST /v1/plans` answers. */
  create(body: unknown, idempotencyKey?: string): Promise<{ plan: Plan; isReplayed: boolean }>;
  /** Newest first. Throws `body_invalid` for a cursor that no list returned. */
  list(filter: PlanFilter): Promise<{ data: Plan[]; nextCursor: string | null }>;
  /** Throws `plan_unknown`. */
  read(planId: string): Promise<Plan>;
  /** These three throw `plan_unknown`, and `plan_closed` for a plan that has ended. */
  pause(planId: string): Promise<Plan>;
  resume(planId: string): Promise<Plan>;
  cancel(planId: string): Promise<Plan>;
  /** Prompts the customer. Throws the errors that `POST /v1/plans/:planId/pay` answers. */
  pay(
    planId: string,
    request: { body: unknown; idempotencyKey?: string | undefined },
  ): Promise<{ event: StatusEvent; isReplayed: boolean }>;
  /** The payment link that pays all open instalments up to a number, as `linkUpTo` returns it. */
  linkUpTo(planId: string, n?: number): Promise<LinkRow>;
  /** Those plans that exist, for their messages. */
  states: ReadPlans;
}

export interface PlansOptions {
  pool: pg.Pool;
  sealer: Sealer;
  providers: ReadonlyMap<string, Provider>;
  startPayment: StartPayment;
  /** What a customer may owe on instalments, in minor units of each currency. Absent: any amount. */
  planCreditMaxMinor?: number | undefined;
  /** Base of the URLs of plans and instalments. */
  publicUrl: () => string;
  /** Called after a change. */
  onChange: () => void;
}

export function createPlans(options: PlansOptions): Plans {
  const { pool, providers, planCreditMaxMinor: creditMaxMinor, onChange } = options;
  const toView = (row: PlanRow): Plan => toPlan(row, (page, kind) => urlOf(page, options, kind));
  const changed = (row: PlanRow): Plan => {
    onChange();
    return toView(row);
  };
  return {
    async create(body, idempotencyKey) {
      const draft = readPlanDraft(body, providers, await readNow(pool));
      const { isReplayed } = await createPlan({ ...options, creditMaxMinor }, draft, idempotencyKey);
      return { plan: changed(await readPlan(pool, draft.planId)), isReplayed };
    },
    async list(filter) {
      const { rows, nextCursor } = await listPlans(pool, filter);
      return { data: rows.map(toView), nextCursor };
    },
    read: async (planId) => toView(await readPlan(pool, planId)),
    pause: async (planId) => changed(await pausePlan(pool, planId)),
    resume: async (planId) => changed(await resumePlan(pool, planId)),
    cancel: async (planId) => changed(await cancelPlan(pool, planId)),
    pay: (planId, request) => payPlan(options, planId, request),
    linkUpTo: (planId, n) => linkUpTo(options, planId, n),
    async states(ids) {
      return (await readPlanStates(pool, ids)).map((row) => ({
        id: row.id,
        epoch: row.epoch,
        version: row.version,
        status: row.status,
        statusVersion: row.status_version,
        statusAt: row.status_at,
        startedVersion: row.started_version,
        startedAt: row.started_at,
        occurredAt: row.changed_at,
        plan: toView(row),
      }));
    },
  };
}
