/**
 * Paying ahead: the payment link that pays all open instalments up to one of them in one order. It is the instalment's own link if that is
 * the only open one, else a link that covers them. A repeated call returns the same link.
 *
 * Guarantees: two links that pay the same instalment have no two payments in progress (`may_open_order`). When a covering link is paid, the
 * plan takes all its instalments as paid at once (settle.ts); of those that were paid before, its money is on the order only.
 */
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import type { Sealer } from "../auth/keys.ts";
import { fieldError, HubError } from "../errors.ts";
import { run } from "../order/statement.ts";
import { providersOf } from "../payment-link/draft.ts";
import { type LinkRow, linkColumns } from "../payment-link/row.ts";
import { createToken, hashOf, sealToken } from "../payment-link/token.ts";
import type { Provider } from "../provider/provider.ts";
import { planNames } from "./instalment.ts";
import { readPlan } from "./read.ts";
import { instalmentsMax } from "./row.ts";

/** $1: the plan. $2: the last number; null: only the oldest one. One more than a link may cover. */
const openStatement = {
  name: "read-open-instalments",
  text: `select ${linkColumns("l")}, l.plan_n from payment_link l
    where l.plan_uuid = $1 and l.plan_n <= coalesce($2::int, 2147483647) and l.status = 'open'
    order by l.plan_n limit case when $2::int is null then 1 else ${instalmentsMax + 1} end`,
} as const;

/** $1: the plan. $2: the numbers. */
const coveringStatement = {
  name: "read-covering-link",
  text: `select ${linkColumns("l")} from payment_link l
    where l.plan_uuid = $1 and l.plan_n is null and l.status = 'open' and l.covers = $2::int[]`,
} as const;

/** Whether the plan has an instalment with this number. */
const knownStatement = {
  name: "read-instalment-number",
  text: "select from payment_link where plan_uuid = $1 and plan_n = $2",
} as const;

/** Order ids that one statement looks at: the id has a number if links that covered the same instalments were cancelled. */
const namesMax = 100;

/**
 * $1, $2: the plan and its version. $3: the numbers. $4 to $6: the link's id and token. Locks the plan, so that a change of an instalment
 * that the statement does not see is settled later, and then cancels the link.
 */
const createStatement = {
  name: "create-covering-link",
  text: `with locked_plan as materialized (
    select ${planNames.join(", ")} from plan
    where id = $1 and version = $2 and status in ('active', 'past_due', 'paused') for no key update
  ),
  covered as materialized (
    select sum(l.amount_minor) as amount_minor, min(l.due_at) as due_at from locked_plan p
      join payment_link l on l.plan_uuid = p.id and l.plan_n = any ($3::int[])
  ),
  free as materialized (
    select name from locked_plan p cross join lateral (
      select name from generate_series(1, ${namesMax}) as k cross join lateral (
        select p.plan_id || '-' || ($3::int[])[1] || ':' || ($3::int[])[cardinality($3::int[])] || case when k > 1 then ':' || k else '' end as name
      ) named
      where may_create_link(name) and not exists (select from payment_link other where other.order_id = name offset 0)
      limit 1
    ) named
  )
  insert into payment_link as l (id, order_id, token_hash, token, amount_minor, currency, description, customer, metadata, providers, lang,
    due_at, plan_uuid, covers, seen_version)
  select $4, free.name, $5, $6, covered.amount_minor, p.currency, p.description, p.customer, p.metadata,
    case when p.provider is not null then array[p.provider] end, p.lang, covered.due_at, p.id, $3, 1
  from locked_plan p cross join covered cross join free
  on conflict (order_id) do nothing
  returning ${linkColumns("l")}`,
} as const;

export interface CoverOptions {
  pool: pg.Pool;
  sealer: Sealer;
  providers: ReadonlyMap<string, Provider>;
}

/** More than any race takes: each try loses to a change of the plan, or to another call. */
const triesMax = 5;

/**
 * The link that pays all open instalments up to the number `n`; without `n` the oldest one. Throws `plan_unknown`, `plan_closed` for a plan
 * that has ended, `payment_link_closed` if no instalment up to `n` is open, and `body_invalid` or `amount_invalid`, naming `n`.
 */
export async function linkUpTo(options: CoverOptions, planId: string, n?: number): Promise<LinkRow> {
  const { pool, providers } = options;
  for (let tries = 0; tries < triesMax; tries += 1) {
    const plan = await readPlan(pool, planId);
    if (plan.status === "completed" || plan.status === "cancelled") {
      throw new HubError("plan_closed", `The plan is ${plan.status}`);
    }
    const open = await readOpen(pool, plan.id, n);
    const [first] = open;
    if (first && open.length === 1) return first;
    const numbers = open.map(({ plan_n }) => plan_n);
    const [found] = await run<LinkRow>(pool, coveringStatement, [plan.id, numbers]);
    if (found) return found;
    const amountMinor = open.reduce((sum, one) => sum + (one.amount_minor ?? 0), 0);
    // Throws for a sum that no provider takes at once.
    providersOf(
      { amountMinor, amountField: "n", currency: plan.currency, providers: first?.providers ?? undefined },
      providers,
    );
    const created = await create(options, plan, numbers);
    if (created) return created;
  }
  throw new HubError("store_unavailable", "The plan is changing too fast; try again", { retryAfterS: 1 });
}

type OpenRow = LinkRow & { plan_n: number };

async function readOpen(pool: pg.Pool, planUuid: string, n: number | undefined): Promise<OpenRow[]> {
  const open = await run<OpenRow>(pool, openStatement, [planUuid, n]);
  if (open.length > instalmentsMax)
    throw fieldError("body_invalid", "n", `has more than ${instalmentsMax} open ones before it`);
  if (n !== undefined && open.at(-1)?.plan_n !== n && (await run(pool, knownStatement, [planUuid, n])).length === 0) {
    throw fieldError("body_invalid", "n", "is the number of no instalment of the plan");
  }
  if (open.length === 0) throw new HubError("payment_link_closed", "No instalment up to this one is open");
  return open;
}

async function create(
  { pool, sealer }: CoverOptions,
  plan: { id: string; version: number },
  numbers: readonly number[],
): Promise<LinkRow | undefined> {
  const [id, token] = [uuidv7(), createToken()];
  const values = [plan.id, plan.version, numbers, id, hashOf(token), sealToken(sealer, id, token)];
  const [row] = await run<LinkRow>(pool, createStatement, values);
  return row;
}
