/** Reads payment links. A link whose status is due is settled first, so that no read shows an older status than the database implies. */
import type pg from "pg";
import { newestPlace, readCursor, rowPlace, writeCursor } from "../cursor.ts";
import { HubError } from "../errors.ts";
import { run } from "../order/statement.ts";
import { type LinkRow, type LinkStatus, linkColumns } from "./row.ts";
import { isOrderPaid, isOver, settleDue, settleOne } from "./settle.ts";

/** The status that the database implies now. */
const currentStatus = `case when ${isOrderPaid} then 'paid' when l.status = 'open' and ${isOver} then 'expired' else l.status end`;

/** A link, and the status that it will get next if that is another one. */
export type ReadRow = LinkRow & { current_status: LinkStatus };

/** The plan of a link that is an instalment, or covers several. */
export interface LinkPlan {
  id: string;
  /** Encrypted, in hexadecimal digits. Null until a node has added it. */
  token: string | null;
  /** Null for a link that covers several. */
  n: number | null;
  /** The numbers that it covers. Null for an instalment. */
  covers: number[] | null;
  /** The number of instalments. Null if the plan has no end. */
  count: number | null;
}

export type PageLinkRow = ReadRow & { plan: LinkPlan | null };

const readColumns = `${linkColumns("l")}, ${currentStatus} as current_status`;

const readStatement = {
  name: "read-payment-link",
  text: `select ${readColumns} from payment_link l where l.id = $1`,
} as const;

const findStatement = {
  name: "find-payment-link",
  text: `select ${readColumns}, (
      select jsonb_build_object('id', p.id, 'token', encode(p.token, 'hex'), 'n', l.plan_n, 'covers', l.covers,
        'count', case when p.schedule is null or p.schedule ? 'count' then p.next_n - 1 end)
      from plan p where p.id = l.plan_uuid
    ) as plan
    from payment_link l where l.token_hash = $1`,
} as const;

/** $1: the limit. $2, $3: the place, from which on older links are read. */
const listStatement = {
  name: "list-payment-links",
  text: `select ${readColumns} from payment_link l where (l.created_at, l.id) < ($2::timestamptz, $3::uuid)
    order by l.created_at desc, l.id desc limit $1`,
} as const;

/** $4: the status, as a range of one value, so that only the index by status has the order. */
const listByStatusStatement = {
  name: "list-payment-links-by-status",
  text: `select ${readColumns} from payment_link l
    where l.status >= $4 and l.status <= $4 and (l.created_at, l.id) < ($2::timestamptz, $3::uuid)
    order by l.status desc, l.created_at desc, l.id desc limit $1`,
} as const;

/** Throws `payment_link_unknown`. */
export async function readLink(pool: pg.Pool, id: string): Promise<LinkRow> {
  const row = await readRow(pool, id);
  if (row.current_status === row.status) return row;
  await settleOne(pool, id);
  return readRow(pool, id);
}

async function readRow(pool: pg.Pool, id: string): Promise<ReadRow> {
  const [row] = await run<ReadRow>(pool, readStatement, [id]);
  if (!row) throw new HubError("payment_link_unknown");
  return row;
}

/** The link whose token has this hash. Changes nothing: `current_status` may be newer than the row. */
export async function findLink(pool: pg.Pool, tokenHash: Buffer): Promise<PageLinkRow | undefined> {
  const [row] = await run<PageLinkRow>(pool, findStatement, [tokenHash]);
  return row;
}

/** $1: ids. */
const statesStatement = {
  name: "read-payment-link-states",
  text: `select ${linkColumns("l")}, (select epoch from timeline) as epoch from payment_link l where l.id = any ($1::uuid[])`,
} as const;

/** Those links that exist, as they are stored, in no order. */
export const readLinkStates = (pool: pg.Pool, ids: readonly string[]): Promise<(LinkRow & { epoch: number })[]> =>
  run<LinkRow & { epoch: number }>(pool, statesStatement, [ids]);

export interface LinkFilter {
  status?: LinkStatus | undefined;
  cursor?: string | undefined;
  limit: number;
}

export interface LinkPage {
  rows: LinkRow[];
  nextCursor: string | null;
}

/** Newest first. Throws `body_invalid` for a cursor that no list returned. */
export async function listLinks(pool: pg.Pool, { status, cursor, limit }: LinkFilter): Promise<LinkPage> {
  const place = cursor === undefined ? newestPlace : readCursor(rowPlace, cursor);
  await settleDue(pool);
  const values = [limit + 1, ...place];
  const found = await (status === undefined
    ? run<ReadRow>(pool, listStatement, values)
    : run<ReadRow>(pool, listByStatusStatement, [...values, status]));
  const page = found.slice(0, limit);
  const last = found.length > limit ? page.at(-1) : undefined;
  // An order may have been paid meanwhile.
  const rows = await Promise.all(page.map((row) => (row.current_status === row.status ? row : readLink(pool, row.id))));
  return {
    rows: status === undefined ? rows : rows.filter((row) => row.status === status),
    nextCursor: last ? writeCursor([last.created_at, last.id]) : null,
  };
}
