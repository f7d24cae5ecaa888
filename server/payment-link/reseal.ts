/** Encrypts the tokens of open links anew, so that an older `TUKIO_SECRET` can be removed. */
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import { run } from "../order/statement.ts";
import { openToken, sealToken } from "./token.ts";

/** Links of one read. */
const batch = 500;

const tokensStatement = {
  name: "read-payment-link-tokens",
  text: `select id, token from payment_link where status = 'open' and (created_at, id) > (
      coalesce((select created_at from payment_link where id = $1), '-infinity'), coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'))
    order by created_at, id limit ${batch}`,
} as const;

const resealStatement = {
  name: "reseal-payment-link-token",
  text: "update payment_link set token = $2 where id = $1",
} as const;

/** Links that another node creates meanwhile with the older secret are left to that node's next start. */
export async function resealTokens(
  pool: pg.Pool,
  { sealer, newest }: { sealer: Sealer; newest: Sealer },
): Promise<void> {
  for (let place: string | undefined, isMore = true; isMore; ) {
    type TokenRow = { id: string; token: Buffer };
    const rows: TokenRow[] = await run<TokenRow>(pool, tokensStatement, [place]);
    for (const { id, token } of rows) {
      if (openToken(newest, id, token) !== undefined) continue;
      const opened = openToken(sealer, id, token);
      if (opened !== undefined) await run(pool, resealStatement, [id, sealToken(newest, id, opened)]);
    }
    isMore = rows.length === batch;
    place = rows.at(-1)?.id;
  }
}
