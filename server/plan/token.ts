/**
 * The tokens of plans' pages, as those of payment links. A plan without one, which a node of an older version has created, gets one from the
 * loop of any node: due work is a column, `token` that is null.
 */
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import { run } from "../order/statement.ts";
import { tokenRows } from "../payment-link/reseal.ts";
import { createToken, hashOf, sealToken } from "../payment-link/token.ts";

/** Also those of plans that have ended, whose pages the merchant may still look up. */
export const planTokens = tokenRows("plan", "plan", "token is not null");

/** A new token of a plan, in PostgreSQL's text form of bytes. */
export function newPlanToken(sealer: Sealer, planId: string): { token_hash: string; token: string } {
  const token = createToken();
  const text = (bytes: Buffer): string => `\\x${bytes.toString("hex")}`;
  return { token_hash: text(hashOf(token)), token: text(sealToken(sealer, planId, token, "plan")) };
}

/** Plans of one pass. */
const batch = 100;

const tokenlessStatement = {
  name: "read-tokenless-plans",
  text: `select id from plan where token is null limit ${batch}`,
} as const;

/** $1: the plan. $2, $3: its token. Changes nothing if another node was faster. */
const addStatement = {
  name: "add-plan-token",
  text: "update plan set token_hash = $2::bytea, token = $3::bytea where id = $1 and token is null",
} as const;

/** Gives tokens to plans that have none. Returns whether there may be more. Throws `store_unavailable`. */
export async function addMissingTokens(pool: pg.Pool, sealer: Sealer): Promise<{ changed: 0; isUnfinished: boolean }> {
  const plans = await run<{ id: string }>(pool, tokenlessStatement, []);
  for (const { id } of plans) {
    const { token_hash, token } = newPlanToken(sealer, id);
    await run(pool, addStatement, [id, token_hash, token]);
  }
  // It is no change of the plan: its version stays.
  return { changed: 0, isUnfinished: plans.length === batch };
}
