/**
 * Pages of lists of orders and payments. Each page reads rows of one range of an index, and at most 1,000 of them, whatever the number of
 * rows. A later page begins after the last row that the one before has read, so that rows which change meanwhile neither repeat nor hide
 * others, and no transaction spans two pages.
 */
import { type Kysely, type RawBuilder, sql } from "kysely";
import { z } from "zod";
import { placeTime, readCursor, writeCursor } from "../cursor.ts";
import type { Tables } from "./tables.ts";

/** A part of a statement. */
export type Sql = RawBuilder<unknown>;

/** Rows that one page reads at most, because a condition that no index serves may fit few rows, or none, among millions. */
export const readMax = 1_000;

/** The place of a row in its list: its time and its id. */
export interface Place {
  at: Date;
  id: string;
  /** The end of a list by change, which its first page has set. */
  until?: Date;
}

const placeShape = z.tuple([placeTime, z.uuid(), placeTime.optional()]);

/** Throws `body_invalid` for a cursor that no list returned. */
export function readPlace(cursor: string | undefined): Place | undefined {
  if (cursor === undefined) return undefined;
  const [at, id, until] = readCursor(placeShape, cursor);
  return { at, id, ...(until && { until }) };
}

export const writePlace = ({ at, id, until }: Place): string => writeCursor([at, id, ...(until ? [until] : [])]);

/** The columns that a range must have beside those of its rows: the place of each. */
export interface Placed {
  sort_at: Date;
  sort_id: string;
}

/** A list's rows in their order, as a statement that ends with its `limit`. */
export type Range = (limit: Sql) => Sql;

export interface PageRead {
  /** The name of the rows in `range` and `conditions`. */
  name: "order" | "payment";
  range: Range;
  /** The conditions that the index of the range does not serve. */
  conditions: readonly Sql[];
  limit: number;
  direction?: "asc" | "desc" | undefined;
  /** Further columns of the rows of the page, which are named `found`. */
  more?: readonly Sql[];
}

export interface ReadPage<Row> {
  rows: Row[];
  /** The place after which the next page begins. Undefined at the end of the list. */
  next: Place | undefined;
}

export const all = (conditions: readonly Sql[]): Sql =>
  conditions.length === 0 ? sql`true` : sql`(${sql.join(conditions, sql`) and (`)})`;

/** `sort_at` and `sort_id` in the list's direction. */
export const inOrder = (at: string, id: string, direction: "asc" | "desc" = "desc"): Sql =>
  sql`order by ${sql.ref(at)} ${sql.raw(direction)}, ${sql.ref(id)} ${sql.raw(direction)}`;

/** Merges ranges that have no row in common. Each is limited, so that none is read further than the page needs. */
export const merged =
  (ranges: readonly Range[]): Range =>
  (limit) =>
    sql`select part.* from (${sql.join(
      ranges.map((range) => sql`(${range(limit)})`),
      sql` union all `,
    )}) part ${inOrder("part.sort_at", "part.sort_id")} limit ${limit}`;

/** Reads the rows of a range until `limit` + 1 fit the conditions, at most `readMax` of them. */
export async function readPage<Row>(db: Kysely<Tables>, read: PageRead): Promise<ReadPage<Row>> {
  const { name, range, conditions, limit, direction, more = [] } = read;
  // The row in the place `readMax` may fit no condition: the next page begins after it.
  type Found = Row & Placed & { is_match: boolean; place: number };
  const rowsMax = conditions.length > 0 ? readMax : Math.min(readMax, limit + 1);
  const { rows } = await sql<Found>`
    select ${sql.join([sql`found.*`, sql`(select epoch from timeline) as epoch`, ...more])} from (
      select ${sql.table(name)}.*, (${all(conditions)}) is true as is_match,
        row_number() over (${inOrder("sort_at", "sort_id", direction)}) as place
      from (${range(sql.lit(rowsMax))}) as ${sql.table(name)}
    ) found
    where is_match or place = ${sql.lit(readMax)}
    ${inOrder("sort_at", "sort_id", direction)} limit ${sql.lit(limit + 1)}`.execute(db);
  const matches = rows.filter(({ is_match }) => is_match);
  const shown = matches.slice(0, limit);
  const lastRead = rows.at(-1)?.place === readMax ? rows.at(-1) : undefined;
  const last = matches.length > limit ? shown.at(-1) : lastRead;
  return { rows: shown, next: last && { at: last.sort_at, id: last.sort_id } };
}
