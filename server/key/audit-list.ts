/** Reads the record of changes, newest first. */
import type pg from "pg";
import { z } from "zod";
import { placeTime, readCursor, writeCursor } from "../cursor.ts";
import { fieldError } from "../errors.ts";
import { run } from "../order/statement.ts";

/** Entries can be found by one of these. */
export const auditFields = { keyId: "key_id", operation: "operation", subject: "subject" } as const;

type AuditField = keyof typeof auditFields;

export interface AuditFilter extends Partial<Record<AuditField, string | undefined>> {
  from?: Date | undefined;
  to?: Date | undefined;
  cursor?: string | undefined;
  limit: number;
}

export interface AuditEntry {
  at: string;
  operation: string;
  key: { id: string; name: string };
  desk: boolean;
  subject?: string;
  done: boolean;
}

interface AuditRow {
  at: Date;
  id: number;
  operation: string;
  key_id: string;
  key_name: string;
  is_desk: boolean;
  subject: string | null;
  is_done: boolean;
}

const place = z.tuple([placeTime, z.int().min(0)]);

const selected = "select at, id, operation, key_id, key_name, is_desk, subject, is_done from audit";

/** $1: the limit. $2, $3: the place, from which on older entries are read. $4: the time of the oldest one. */
const inTime = "(at, id) < ($2::timestamptz, $3::bigint) and at >= $4::timestamptz";

const listStatement = {
  name: "list-audit",
  text: `${selected} where ${inTime} order by at desc, id desc limit $1`,
} as const;

/** $5: the value, as a range of one value, so that only the index of this column has the order. */
const statementBy = (column: (typeof auditFields)[AuditField]) =>
  ({
    name: `list-audit-by-${column}`,
    text: `${selected} where ${column} >= $5 and ${column} <= $5 and ${inTime} order by ${column} desc, at desc, id desc limit $1`,
  }) as const;

/** Throws `body_invalid` for a cursor that no list returned, and for two filters that have no index together. */
export async function listAudit(
  pool: pg.Pool,
  { from, to, cursor, limit, ...filter }: AuditFilter,
): Promise<{ data: AuditEntry[]; nextCursor: string | null }> {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined);
  const [found, other] = given as [AuditField, string][];
  if (found && other) throw fieldError("body_invalid", other[0], `cannot be used together with ${found[0]}`);
  if (from && to && from > to) throw fieldError("body_invalid", "to", "is before from");
  const start = cursor === undefined ? [to ?? "infinity", 0] : readCursor(place, cursor);
  const values = [limit + 1, ...start, from ?? "-infinity"];
  const rows = found
    ? await run<AuditRow>(pool, statementBy(auditFields[found[0]]), [...values, found[1]])
    : await run<AuditRow>(pool, listStatement, values);
  const page = rows.slice(0, limit);
  const last = rows.length > limit ? page.at(-1) : undefined;
  return { data: page.map(toEntry), nextCursor: last ? writeCursor([last.at, last.id]) : null };
}

const toEntry = ({ at, operation, key_id, key_name, is_desk, subject, is_done }: AuditRow): AuditEntry => ({
  at: at.toISOString(),
  operation,
  key: { id: key_id, name: key_name },
  desk: is_desk,
  ...(subject !== null && { subject }),
  done: is_done,
});
