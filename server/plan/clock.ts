/**
 * The clock of plans: PostgreSQL's clock, and in the sandbox what merchants have moved it ahead. All nodes read it in the database, so that
 * it moves for all of them at once. It decides what is due; the times of what has happened are those of the real clock.
 */
import { Duration } from "luxon";
import type pg from "pg";
import { z } from "zod";
import { fieldError } from "../errors.ts";
import { run } from "../order/statement.ts";
import { parseInput } from "../validation.ts";

const nowStatement = { name: "read-plan-clock", text: "select plan_now() as now" } as const;

/** The time of plans. Throws `store_unavailable`. */
export async function readNow(pool: pg.Pool): Promise<Date> {
  const [row] = await run<{ now: Date }>(pool, nowStatement, []);
  return row?.now ?? new Date();
}

/** Ten years, because a plan has at most that many months, and each date that passes costs work. */
const aheadMsMax = 3_653 * 86_400_000;

/** 100, because a duration has seven numbers. */
const textLengthMax = 100;

const readAdvance = (text: string): Duration | undefined => {
  if (text.length > textLengthMax) return undefined;
  const duration = Duration.fromISO(text);
  const isForward = duration.isValid && Object.values(duration.toObject()).every((part) => part >= 0);
  return isForward && duration.toMillis() > 0 ? duration : undefined;
};

export const clockBody = z
  .strictObject({
    advance: z
      .string()
      .refine((text) => readAdvance(text) !== undefined, "must be a duration such as P1M, P3D or PT12H, forward only")
      .describe("How far the time moves: an ISO 8601 duration. At most ten years in total."),
  })
  .meta({ id: "ClockRequest" });

/** The milliseconds ahead after an advance by $1, in the calendar of UTC. */
const moved = `(extract(epoch from
  ((statement_timestamp() + ahead_ms * interval '1 millisecond') at time zone 'UTC' + $1::interval) at time zone 'UTC' - statement_timestamp()
) * 1000)::bigint`;

/** $2: the most milliseconds. Concurrent advances add up, because the second one waits for the row. */
const advanceStatement = {
  name: "advance-plan-clock",
  text: `update plan_clock set ahead_ms = ${moved} where ${moved} <= $2::bigint
    returning statement_timestamp() + ahead_ms * interval '1 millisecond' as now`,
} as const;

/** Moves the time of all plans. Returns the new one. Throws `body_invalid`. */
export async function advanceClock(pool: pg.Pool, body: unknown): Promise<Date> {
  const { advance } = parseInput(clockBody, body);
  const duration = readAdvance(advance);
  // PostgreSQL cannot read a longer one.
  const isShort = duration !== undefined && duration.toMillis() <= aheadMsMax;
  const [row] = isShort ? await run<{ now: Date }>(pool, advanceStatement, [duration.toISO(), aheadMsMax]) : [];
  if (!row) throw fieldError("body_invalid", "advance", "would move the time by more than ten years in total");
  return row.now;
}

const resetStatement = {
  name: "reset-plan-clock",
  text: "update plan_clock set ahead_ms = 0 where ahead_ms <> 0",
} as const;

/** Sets the real time again, for a database with which real money moves. */
export async function resetClock(pool: pg.Pool): Promise<void> {
  await run(pool, resetStatement, []);
}
