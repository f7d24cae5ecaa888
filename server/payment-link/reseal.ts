/** Encrypts the tokens of open links, or of plans, anew, so that an older `TUKIO_SECRET` can be removed. */
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import { run, type Statement } from "../order/statement.ts";
import { openToken, type PageKind, sealToken } from "./token.ts";

/** Rows of one read. */
const batch = 500;

/** The tokens of one table. */
export interface TokenRows {
  kind: PageKind;
  /** $1: the last id of the batch before, or null. Selects `id` and `token` in an order. */
  read: Statement;
  /** $1: the id. $2: the token. */
  write: Statement;
}

/** `isKept`: whether a token of the table is encrypted anew, in SQL. */
export const tokenRows = (kind: PageKind, table: "payment_link" | "plan", isKept: string): TokenRows => ({
  kind,
  read: {
    name: `read-${kind}-tokens`,
    text: `select id, token from ${table} where ${isKept} and (created_at, id) > (
      coalesce((select created_at from ${table} where id = $1), '-infinity'), coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'))
    order by created_at, id limit ${batch}`,
  },
  write: { name: `reseal-${kind}-token`, text: `update ${table} set token = $2 where id = $1` },
});

const linkTokens = tokenRows("payment-link", "payment_link", "status = 'open'");

/** Rows that another node creates meanwhile with the older secret are left to that node's next start. */
export async function resealTokens(
  pool: pg.Pool,
  { sealer, newest }: { sealer: Sealer; newest: Sealer },
  { kind, read, write }: TokenRows = linkTokens,
): Promise<void> {
  for (let place: string | undefined, isMore = true; isMore; ) {
    type TokenRow = { id: string; token: Buffer };
    const rows: TokenRow[] = await run<TokenRow>(pool, read, [place]);
    for (const { id, token } of rows) {
      if (openToken(newest, id, token, kind) !== undefined) continue;
      const opened = openToken(sealer, id, token, kind);
      if (opened !== undefined) await run(pool, write, [id, sealToken(newest, id, opened, kind)]);
    }
    isMore = rows.length === batch;
    place = rows.at(-1)?.id;
  }
}
