/**
 * Results: what the payer receives for the money. Each change is one statement that locks the order, decides by the locked row and
 * writes the next version (G3), so that changes on several nodes lose nothing. An order keeps its results through every transition,
 * because no other statement writes them.
 */
import type pg from "pg";
import { fieldError, HubError } from "../errors.ts";
import type { Result, StatusEvent } from "./order.ts";
import { eventColumns, recordEvent, type StateRow, stateColumns, toEvent } from "./row.ts";
import { run, type Statement } from "./statement.ts";

/** 20, because a payer's page shows all of them. */
const resultsMax = 20;

/** 8 KiB, because every message of the order carries all results. */
const resultsBytesMax = 8_192;

type ResultOutcome = "changed" | "same" | "newer" | "unpaid" | "too_many" | "too_large" | "unknown";

const lockedOrder = `locked_order as (
    select ${stateColumns("o")} from "order" o where o.order_id = $1 for no key update
  )`;

/** Writes the results of `next_results` if its outcome is `changed`, and answers with the outcome and the state after it. */
const change = `changed_order as (
    update "order" o set version = o.version + 1, results = next.results, changed_at = greatest(clock_timestamp(), o.changed_at)
    from next_results next where o.id = next.id and next.outcome = 'changed'
    returning ${stateColumns("o")}
  ),
  ${recordEvent({ source: "'merchant'", note: "null" })}
  select 'changed' as outcome, ${eventColumns("changed_order")} from changed_order
  union all
  select next.outcome, ${eventColumns("locked_order")} from locked_order join next_results next on next.id = locked_order.id
  where next.outcome <> 'changed'`;

/** Adds the result $2 to the order $1, or replaces the one with its id in its place; with $3 only while the order has that version. */
export const putResultStatement = {
  name: "put-result",
  text: `with ${lockedOrder},
  next_results as (
    select l.id, after.results,
      case when l.status <> 'succeeded' then 'unpaid'
           when l.version <> $3::int then 'newer'
           when after.results = l.results then 'same'
           when jsonb_array_length(after.results) > ${resultsMax} then 'too_many'
           when octet_length(after.results::text) > ${resultsBytesMax} then 'too_large'
           else 'changed' end as outcome
    from locked_order l cross join lateral (
      select jsonb_agg(each.result order by each.place) as results from (
        select case when result ->> 'id' = $2::jsonb ->> 'id' then $2::jsonb else result end as result, place
        from jsonb_array_elements(l.results) with ordinality as old (result, place)
        union all
        select $2::jsonb, ${resultsMax + 1}
        where (l.results @> jsonb_build_array(jsonb_build_object('id', $2::jsonb -> 'id'))) is not true
      ) each
    ) after
  ),
  ${change}`,
} as const;

/** Removes the result with the id $2 from the order $1. */
export const removeResultStatement = {
  name: "remove-result",
  text: `with ${lockedOrder},
  next_results as (
    select l.id, after.results,
      case when l.results @> jsonb_build_array(jsonb_build_object('id', $2::text)) then 'changed' else 'unknown' end as outcome
    from locked_order l cross join lateral (
      select jsonb_agg(result order by place) as results
      from jsonb_array_elements(l.results) with ordinality as old (result, place)
      where result ->> 'id' <> $2::text
    ) after
  ),
  ${change}`,
} as const;

/** The order after a request to change its results. */
export interface ChangedResults {
  event: StatusEvent;
  /** False when the order had this very result, or another version than the required one: there is no new version. */
  isChanged: boolean;
}

/** Throws `order_unknown`, `order_unpaid` (with `order`), or `body_invalid` when the order would have too many or too large results. */
export async function putResult(
  pool: pg.Pool,
  orderId: string,
  result: Result,
  onlyAtVersion?: number,
): Promise<ChangedResults> {
  return changeResults(pool, putResultStatement, [orderId, JSON.stringify(result), onlyAtVersion]);
}

/** Throws `order_unknown` or `result_unknown`. */
export async function removeResult(pool: pg.Pool, orderId: string, resultId: string): Promise<StatusEvent> {
  return (await changeResults(pool, removeResultStatement, [orderId, resultId])).event;
}

async function changeResults(pool: pg.Pool, statement: Statement, values: unknown[]): Promise<ChangedResults> {
  const [row] = await run<StateRow & { outcome: ResultOutcome }>(pool, statement, values);
  if (!row) throw new HubError("order_unknown");
  const event = toEvent(row);
  const refusal = refusalOf(row.outcome, event);
  if (refusal) throw refusal;
  return { event, isChanged: row.outcome === "changed" };
}

function refusalOf(outcome: ResultOutcome, order: StatusEvent): HubError | undefined {
  if (outcome === "unpaid") return new HubError("order_unpaid", undefined, { order });
  if (outcome === "unknown") return new HubError("result_unknown");
  if (outcome === "too_many") return fieldError("body_invalid", "results", `an order has at most ${resultsMax}`);
  if (outcome === "too_large") return fieldError("body_invalid", "results", "an order has at most 8 KiB, as JSON");
  return undefined;
}
