/** Finds the payment that a webhook names. */
import type pg from "pg";
import { run } from "./statement.ts";

const locateStatement = {
  name: "locate",
  text: "select id from payment where provider = $1 and reference = $2",
} as const;

/** Finds the id of the payment that the provider knows by this reference. */
export async function locate(pool: pg.Pool, provider: string, reference: string): Promise<string | undefined> {
  return (await run<{ id: string }>(pool, locateStatement, [provider, reference]))[0]?.id;
}

/** Names Lipana as a literal, because the index `payment_own_reference` is a partial one. */
const locateOwnStatement = {
  name: "locate-own",
  text: "select id from payment where provider = $1 and provider = 'lipana' and right(id::text, 12) = $2",
} as const;

/** Finds the id of the payment that we gave this reference when we asked the provider for the money: the end of its id. */
export async function locateOwn(pool: pg.Pool, provider: string, ownReference: string): Promise<string | undefined> {
  return (await run<{ id: string }>(pool, locateOwnStatement, [provider, ownReference]))[0]?.id;
}
