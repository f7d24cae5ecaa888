/**
 * Collects plans: prompts the customer for the oldest due instalment, once a day. Due work is a column: `collects_at`, when a node looks at
 * the plan next.
 *
 * Guarantees: at most one prompt for a plan and day, and none at night, whatever node dies and whatever the clock does: the statement that
 * claims a plan for a prompt records the day in `prompted_on`, and each day has one idempotency key. Any number of nodes may collect at
 * once. A node that was down prompts once. Does not guarantee a prompt on each day: a process that dies between claim and prompt leaves that
 * day out.
 */
import { createHash } from "node:crypto";
import type { FastifyBaseLogger } from "fastify";
import type pg from "pg";
import { HubError } from "../errors.ts";
import { run } from "../order/statement.ts";
import { readNow } from "./clock.ts";
import { linkUpTo } from "./cover.ts";
import { type PayOptions, startByLink } from "./pay.ts";
import { type Asking, dayOf, nextPromptAt } from "./prompt-time.ts";

/** Plans of one pass. */
const batch = 100;

const dueStatement = {
  name: "read-plans-to-collect",
  text: `select p.id, p.plan_id, p.time_zone, p.prompt_at, p.prompted_on::text, p.collects_at, open.due_at,
      exists (
        select from payment where phone = p.customer ->> 'phone' and phone ~ '^[+][0-9]+$' and is_open(status)
          and started_at > statement_timestamp() - interval '10 minutes'
      ) as is_phone_busy
    from (
      select * from plan where collects_at <= plan_now() and status in ('active', 'past_due') order by collects_at limit ${batch}
    ) p
      cross join lateral (
        select coalesce(array_agg(due_at order by plan_n), '{}') as due_at from payment_link
        where plan_uuid = p.id and plan_n is not null and status = 'open'
      ) open`,
} as const;

interface DueRow {
  id: string;
  plan_id: string;
  time_zone: string;
  prompt_at: string;
  prompted_on: string | null;
  collects_at: Date;
  /** Of the open instalments. */
  due_at: Date[];
  /** A payment with the customer's phone is in progress: a phone has one prompt at a time. */
  is_phone_busy: boolean;
}

/** $1: the plan. $2, $3: when it was to be looked at, and when it is next. $4: the day of a prompt; null: none. */
const claimStatement = {
  name: "claim-plan",
  text: `update plan set collects_at = $3, prompted_on = coalesce($4::date, prompted_on)
    where id = $1 and collects_at = $2 and status in ('active', 'past_due')
      and ($4::date is null or prompted_on is null or prompted_on < $4::date)
    returning id`,
} as const;

/** $1: the plan. $2: when to try again. $3, $4: the day of the prompt that was not made, and of the one before. */
const putOffStatement = {
  name: "put-off-prompt",
  text: `update plan set collects_at = $2, prompted_on = $4::date
    where id = $1 and prompted_on = $3::date and status in ('active', 'past_due')`,
} as const;

export interface CollectOptions extends PayOptions {
  /** Counts a prompt with the provider. Throws `rate_limited`. */
  admit: (provider: string) => Promise<void>;
  /** The most payments of one phone in an hour that pages and plans start. Absent: any number. */
  phoneMax?: number | undefined;
  log: Pick<FastifyBaseLogger, "warn">;
}

/** Looks at the plans that are due. Returns whether more may be due. Throws `store_unavailable`. */
export async function collectDuePlans(options: CollectOptions): Promise<{ changed: 0; isUnfinished: boolean }> {
  const { pool } = options;
  const rows = await run<DueRow>(pool, dueStatement, []);
  const now = rows.length > 0 ? await readNow(pool) : new Date();
  for (const row of rows) await collect(options, row, now);
  // It is no change of a plan: its version stays.
  return { changed: 0, isUnfinished: rows.length === batch };
}

/** 1 min, because a prompt is answered or ends within a few. */
const busyMs = 60_000;

async function collect(options: CollectOptions, row: DueRow, now: Date): Promise<void> {
  const asking = askingOf(row);
  const isDue = nextPromptAt(now, asking)?.getTime() === now.getTime();
  if (isDue && row.is_phone_busy) return void (await claim(options.pool, row, { next: later(now, busyMs) }));
  if (!isDue) return void (await claim(options.pool, row, { next: nextPromptAt(now, asking) }));
  const day = dayOf(now, row.time_zone);
  const next = nextPromptAt(now, { ...asking, promptedOn: day });
  if (await claim(options.pool, row, { next, day })) await prompt(options, row, { now, day });
}

const later = (at: Date, ms: number): Date => new Date(at.getTime() + ms);

const askingOf = ({ time_zone: timeZone, prompt_at: promptAt, prompted_on, due_at }: DueRow): Asking => ({
  timeZone,
  promptAt,
  promptedOn: prompted_on ?? undefined,
  dueDays: due_at.map((at) => dayOf(at, timeZone)),
});

/** Whether this node is the one that goes on. */
const claim = async (
  pool: pg.Pool,
  row: DueRow,
  { next, day }: { next?: Date | undefined; day?: string },
): Promise<boolean> => (await run(pool, claimStatement, [row.id, row.collects_at, next, day])).length > 0;

async function prompt(options: CollectOptions, row: DueRow, { now, day }: { now: Date; day: string }): Promise<void> {
  try {
    const link = await linkUpTo(options, row.plan_id);
    // The due ones may have been paid meanwhile.
    if (link.due_at === null || dayOf(link.due_at, row.time_zone) > day) return;
    await startByLink(options, link, undefined, {
      idempotencyKey: `plan:${row.id}:${day}`,
      request: { plan: row.id, day },
      page: { payer: payerOf(row.id), phoneMax: options.phoneMax, admit: options.admit },
    });
  } catch (error) {
    await afterRefusal(options, row, { now, day, error });
  }
}

/** As a browser's, so that prompts count among the payments that pages start with a phone. No browser has this key. */
const payerOf = (planUuid: string): string => createHash("sha256").update(`plan:${planUuid}`).digest("hex");

/** 1 min, because the node or the database is then ready again. */
const unavailableS = 60;

/** A prompt that a limit or an outage prevented is put off, within the day's hours. Any other refusal ends the day's attempt. */
async function afterRefusal(
  { pool, log }: CollectOptions,
  row: DueRow,
  { now, day, error }: { now: Date; day: string; error: unknown },
): Promise<void> {
  if (!(error instanceof HubError)) throw error;
  if (error.retryable) {
    const { retryAfterS = unavailableS } = error.details;
    const next = nextPromptAt(later(now, retryAfterS * 1_000), askingOf(row));
    await run(pool, putOffStatement, [row.id, next, day, row.prompted_on]);
  } else if (error.code === "provider_unknown") {
    log.warn({ event: "plan.prompt.refused", planId: row.plan_id, err: error }, "A plan's provider is not enabled");
  }
}
