/** The hub's reads: the current states of orders, and the orders that changed. Every read uses an index. */
import type pg from "pg";
import type { StatusEvent } from "./order.ts";
import { eventColumns, type StateRow, stateColumns, toEvent } from "./row.ts";
import { run } from "./statement.ts";

/** One index probe for each id, whatever the table's size. */
const currentStatement = {
  name: "current",
  text: `select ${eventColumns("o")}, clock_timestamp() as read_at from unnest($1::uuid[]) as wanted (id)
         join lateral (select ${stateColumns('"order"')} from "order" where id = wanted.id offset 0) o on true`,
} as const;

/** Reads the current states of those orders that exist, in no order. */
export async function readCurrent(pool: pg.Pool, ids: readonly string[]): Promise<StatusEvent[]> {
  return (await run<StateRow>(pool, currentStatement, [ids])).map(toEvent);
}

/** A current state, and PostgreSQL's time of the read as ISO 8601 UTC. */
export interface TimedState {
  event: StatusEvent;
  readAt: string;
}

/** Like `readCurrent`, with the time of the read. */
export async function readCurrentWithTime(pool: pg.Pool, ids: readonly string[]): Promise<TimedState[]> {
  const rows = await run<StateRow & { read_at: Date }>(pool, currentStatement, [ids]);
  return rows.map((row) => ({ event: toEvent(row), readAt: row.read_at.toISOString() }));
}

/** Changed orders, and the time of the read by PostgreSQL's clock. */
export interface Changes {
  at: Date;
  changes: { id: string; version: number }[];
}

/** Ids and versions are two arrays as text, because PostgreSQL takes four times as long to build JSON. */
export const changedStatement = {
  name: "changed",
  text: `select clock_timestamp() as at, array_agg(id)::text as ids, array_agg(version)::text as versions from "order"
         where changed_at >= coalesce($1::timestamptz, statement_timestamp()) - interval '10 seconds'
           -- The planner expects few rows of a bounded range, and so uses the index.
           and changed_at <= 'infinity'`,
} as const;

interface ChangedRow {
  at: Date;
  ids: string | null;
  versions: string | null;
}

/** Reads which orders changed since `at` (default: now), minus 10 s so that late commits are not missed. */
export async function readChanges(pool: pg.Pool, at?: Date): Promise<Changes> {
  const [row] = await run<ChangedRow>(pool, changedStatement, [at ?? null]);
  if (!row) throw new Error("changed always returns one row");
  const versions = elements(row.versions);
  return { at: row.at, changes: elements(row.ids).map((id, index) => ({ id, version: Number(versions[index]) })) };
}

/** The elements of a PostgreSQL array of uuids or numbers, in which nothing is quoted. Null is the empty array. */
const elements = (array: string | null): string[] => array?.slice(1, -1).split(",") ?? [];
