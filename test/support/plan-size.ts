/** Plans beside a million orders, and the calls that send every statement about them. */

import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createSealer } from "../../server/auth/keys.ts";
import type { Database } from "../../server/database/pool.ts";
import type { Claimed } from "../../server/delivery/claim.ts";
import { readClaimedPlans } from "../../server/delivery/plan-message.ts";
import { HubError } from "../../server/errors.ts";
import type { StartPayment } from "../../server/payment/start.ts";
import { resealTokens } from "../../server/payment-link/reseal.ts";
import { cancelPlan, pausePlan, resumePlan } from "../../server/plan/change.ts";
import { advanceClock, readNow, resetClock } from "../../server/plan/clock.ts";
import { collectDuePlans } from "../../server/plan/collect.ts";
import { linkUpTo } from "../../server/plan/cover.ts";
import { createPlan } from "../../server/plan/create.ts";
import type { PlanDraft } from "../../server/plan/draft.ts";
import { growDuePlans } from "../../server/plan/grow.ts";
import { readPlanOfPage } from "../../server/plan/page-state.ts";
import { payPlan } from "../../server/plan/pay.ts";
import { listPlans, readPlan, readPlanStates } from "../../server/plan/read.ts";
import { planStatuses } from "../../server/plan/row.ts";
import { settleDuePlans, settlePlan } from "../../server/plan/settle.ts";
import { addMissingTokens, planTokens } from "../../server/plan/token.ts";
import type { Provider } from "../../server/provider/provider.ts";

/** The id of the `n`th newest plan. */
const planIdOf = (n: number): string => `019f0000-0000-7000-b000-${n.toString(16).padStart(12, "0")}`;

/** A time zone in which it is afternoon now, because no plan prompts at night. */
function zoneWithDay(): string {
  const hoursAhead = 14 - new Date().getUTCHours();
  // The sign is that of POSIX.
  return `Etc/GMT${hoursAhead > 0 ? "-" : "+"}${Math.abs(hoursAhead)}`;
}

/**
 * 30,000 plans of three instalments. The newest 2,000 become past_due now, the next 2,000 have an instalment that was paid since, and the
 * next 2,000 are endless and get a further instalment. The newest 1,000 have no token. A fifth is paused, completed, cancelled or past_due each.
 */
export const planRows: readonly string[] = [
  `insert into plan (id, plan_id, version, status, kind, customer, currency, description, schedule, time_zone, prompt_at,
     remind_days_before, grace_days, next_n, next_index, grows_at, past_due_at, collects_at, token_hash, token, created_at, changed_at)
   select ('019f0000-0000-7000-b000-' || lpad(to_hex(n), 12, '0'))::uuid, 'PLAN-' || n, 2,
     case when n <= 6000 then 'active' else ('{active,past_due,completed,cancelled,paused}'::text[])[1 + n % 5] end,
     case when n % 2 = 0 then 'instalments' else 'subscription' end,
     jsonb_build_object('id', 'C-' || n, 'phone', '+2547' || lpad(n::text, 8, '0')), 'KES', 'A phone',
     jsonb_build_object('amountMinor', 10000, 'every', '{"months": 1}'::jsonb, 'firstDueAt', iso(at)), '${zoneWithDay()}', '09:00', '{3,0}', 3, 4,
     3, case when n between 4001 and 6000 then at end,
     case when n <= 2000 then at when n <= 6000 or n % 5 = 0 then now() + interval '1 day' end,
     case when n <= 6000 and n % 20 = 0 then at else now() + interval '1 day' end,
     case when n > 1000 then sha256(convert_to(rpad('plan-' || n, 24, '-'), 'UTF8')) end, case when n > 1000 then ''::bytea end, at, at
   from made where n <= 30000`,
  `insert into payment_link (id, order_id, status, version, seen_version, token_hash, token, amount_minor, currency, description, customer, due_at,
     overdue_at, plan_uuid, plan_n, created_at, changed_at)
   select ('019f0000-0000-7000-c00' || k || '-' || lpad(to_hex(n), 12, '0'))::uuid, 'PLAN-' || n || '-' || k,
     case when k = 1 and n > 2000 then 'paid' else 'open' end, case when k = 1 and n between 2001 and 4000 then 2 else 1 end, 1,
     sha256(convert_to('plan-' || n || '-' || k, 'UTF8')), '', 10000, 'KES', 'A phone',
     jsonb_build_object('phone', '+2547' || lpad(n::text, 8, '0')), at, case when n <= 2000 then at else now() + interval '1 day' end,
     ('019f0000-0000-7000-b000-' || lpad(to_hex(n), 12, '0'))::uuid, k, at, at
   from made cross join generate_series(1, 3) k where n <= 30000`,
  // Two links of each tenth plan cover the second and the third instalment: one open and, of those whose plan is to be settled, one paid now.
  `insert into payment_link (id, order_id, status, version, seen_version, token_hash, token, amount_minor, currency, plan_uuid, covers, created_at, changed_at)
   select ('019f0000-0000-7000-c0' || k || '-' || lpad(to_hex(n), 12, '0'))::uuid, 'PLAN-' || n || '-2:3:' || k,
     case when k = 11 and n <= 4000 then 'paid' else 'open' end, case when k = 11 and n <= 4000 then 2 else 1 end, 1,
     sha256(convert_to('cover-' || n || '-' || k, 'UTF8')), '', 20000, 'KES', ('019f0000-0000-7000-b000-' || lpad(to_hex(n), 12, '0'))::uuid, '{2,3}', at, at
   from made cross join generate_series(11, 12) k where n <= 30000 and n % 10 = 0`,
  `insert into plan_key (key, request, plan_uuid, created_at)
   select 'key-' || n, sha256('x'), ('019f0000-0000-7000-b000-' || lpad(to_hex(n), 12, '0'))::uuid, at from made where n <= 26200`,
];

/** Rows that a method's statements may read besides those of the result, because a limit of the statement bounds them. */
export const planReads: Record<string, number> = {
  // The five links of a plan, each read for what changed, for what is obsolete, and for the sums.
  settlePlan: 6 * 5,
  // 1,000 plans and their 3,000 instalments, each read again when it is locked and when it is changed.
  settlePlans: 4 * 4_000,
  // The instalments of 50 plans, for the sums and for the list; and the pages of 1,000 plans that were settled before, whose dead index
  // entries the first scan after it finds.
  listPlans: 2 * 3 * 51 + 1_000,
  // The instalments of two plans, for the sums, for the list and for what is unsettled.
  planMessages: 3 * 3 * 2,
  // 100 plans and their instalments, each plan read, settled and put off.
  collectPlans: 100 * 40,
  // 100 plans, and the numbers that are looked for among orders and links.
  growPlans: 200,
};

const draftFor = (planId: string, fields: Partial<PlanDraft> = {}): PlanDraft => ({
  planId,
  kind: "instalments",
  customer: { id: "C-9" },
  currency: "KES",
  timeZone: "Africa/Nairobi",
  promptAt: "09:00",
  remindDaysBefore: [3, 0],
  graceDays: 3,
  instalments: [{ dueAt: new Date(), overdueAt: new Date(Date.now() + 86_400_000), amountMinor: 10_000 }],
  isEndless: false,
  collectsAt: new Date(),
  request: "{}",
  ...fields,
});

const claimedOf = (numbers: readonly number[]): Claimed[] =>
  numbers.map((n) => ({
    endpointId: "00000000-0000-4000-8000-000000000101",
    kind: "plan",
    subjectId: planIdOf(n),
    dueVersion: 2,
    url: "https://shop.example.com/",
    notification: null,
    attempts: 0,
    isReplay: false,
    replays: 0,
    claim: "00000000-0000-4000-8000-000000000001",
  }));

/** Encrypts the token of one plan with another secret. */
async function resealPlan(pool: Database["pool"]): Promise<void> {
  const [old, newest] = ["old", "new"].map((name) =>
    createSealer([`the ${name} secret of more than thirty-two characters`]),
  );
  if (!old || !newest) throw new Error("two sealers were created");
  await createPlan({ pool, sealer: old }, draftFor("RESEAL-PLAN"));
  await pool.query("update plan set created_at = '1970-01-02' where plan_id = 'RESEAL-PLAN'");
  await resealTokens(pool, { sealer: old, newest }, planTokens);
}

/** Named as the keys of `planReads`. */
export function planCalls({ pool }: Database): Record<string, (() => Promise<unknown>)[]> {
  const sealer = createSealer(["a secret of more than thirty-two characters"]);
  const limits = { stepMinor: 1n, minMinor: 1n, maxMinor: 1_000_000n };
  const providers = new Map([
    ["daraja", { name: "daraja", currencies: ["KES"], limits: { ...limits, phone: /./ } } as unknown as Provider],
  ]);
  const refuse = async () => {
    throw new HubError("rate_limited");
  };
  const start: StartPayment = async () => ({ event: {} as StatusEvent, answered: Promise.resolve() });
  const create = (draft: PlanDraft, key?: string) => createPlan({ pool, sealer, creditMaxMinor: 50_000 }, draft, key);
  const states = async (ids: readonly string[]) =>
    (await readPlanStates(pool, ids)).map((row) => ({
      ...row,
      statusVersion: row.status_version,
      statusAt: row.status_at,
      startedVersion: row.started_version,
      startedAt: row.started_at,
      occurredAt: row.changed_at,
      plan: {},
    }));
  return {
    settlePlans: [() => settleDuePlans(pool)],
    settlePlan: [() => settlePlan(pool, planIdOf(1_999)), () => settlePlan(pool, planIdOf(20_000))],
    tokens: [
      () => addMissingTokens(pool, sealer),
      () => resealTokens(pool, { sealer, newest: sealer }, planTokens),
      () => resealPlan(pool),
    ],
    growPlans: [() => growDuePlans(pool, sealer)],
    linkUpTo: [
      () => linkUpTo({ pool, sealer, providers }, "PLAN-1999", 1),
      () => linkUpTo({ pool, sealer, providers }, "PLAN-5999", 3),
      () => linkUpTo({ pool, sealer, providers }, "PLAN-20001", 9),
    ],
    collectPlans: [
      () =>
        collectDuePlans({
          pool,
          sealer,
          providers,
          startPayment: refuse,
          admit: async () => undefined,
          log: { warn: () => undefined },
        }),
    ],
    payPlan: [() => payPlan({ pool, sealer, providers, startPayment: start }, "PLAN-20000", { body: {} })],
    planClock: [() => readNow(pool), () => advanceClock(pool, { advance: "PT1S" }), () => resetClock(pool)],
    createPlan: [
      () => create(draftFor("NEW-PLAN"), "new"),
      // Each of the others creates nothing: a plan, a link, a used key, an expired key, and too much credit.
      () => create(draftFor("NEW-PLAN")),
      () => create(draftFor("MILLION-5"), "key-9"),
      () => create(draftFor("NEW-PLAN-2"), "key-100"),
      () => create(draftFor("NEW-PLAN-3"), "key-26200"),
      () => create(draftFor("NEW-PLAN-4", { customer: { id: "C-10005", phone: "+254700010010" } })),
      () => create(draftFor("NEW-PLAN-5", { customer: { id: "C-10010", phone: "+254700010020" } })),
    ],
    readPlan: [() => readPlan(pool, "PLAN-20000"), () => readPlan(pool, "none")],
    readPlanOfPage: ["plan-20000", "none"].map((token) => () => readPlanOfPage(pool, token.padEnd(24, "-"))),
    listPlans: [...planStatuses, undefined].map((status) => async () => {
      const { nextCursor } = await listPlans(pool, { status, limit: 50 });
      if (nextCursor !== null) await listPlans(pool, { status, limit: 50, cursor: nextCursor });
    }),
    planMessages: [() => readClaimedPlans(pool, claimedOf([20_000, 19_999]), states)],
    changePlan: [
      () => pausePlan(pool, "PLAN-20000"),
      () => resumePlan(pool, "PLAN-20000"),
      () => cancelPlan(pool, "PLAN-20000"),
    ],
  };
}
