/** Records the results of attempts. Each record is one statement, and changes a delivery only for the node that still holds its claim. */
import type pg from "pg";
import { dueNow } from "../order/schedule.ts";
import { run } from "../order/statement.ts";
import type { Claimed } from "./claim.ts";
import type { KnownState, Message } from "./message.ts";
import type { Reply } from "./receiver.ts";

/**
 * The state must be sent again although the endpoint has it: the merchant has asked for a replay since the attempt began, or the message
 * is of another epoch, whose commits may be lost.
 */
const mustRepeat = "(d.is_replay and (not a.was_replay or d.attempts < 0) or a.epoch <> (select epoch from timeline))";

/** A failure is followed by another attempt at once: a version, a replay or the enabling of the endpoint began another schedule since the claim. */
const isRestarted = "(d.due_version > a.version or d.attempts < a.nth - 1)";

/**
 * After a recovery, failures change nothing about the endpoint for 60 s, because one that fails half of the attempts would otherwise
 * change its row, for which other attempts wait, and write a log line with each of them. A success always clears its failures, because
 * five days of them disable it. An attempt at a URL that the endpoint no longer has says nothing about it.
 */
const beginsToFail =
  "e.failing_since is null and coalesce(e.recovered_at < clock_timestamp() - interval '60 seconds', true)";

const recordStatement = {
  name: "record-attempt",
  text: `with attempt as (
    select a.endpoint_id, a.subject_id, a.claim, a.epoch, a.version, a.type, a.is_delivered, a.is_delivered or a.is_final as is_done, a.nth, a.http_status, a.duration_ms,
      a.answer, a.error, a.sent_id, a.delay_ms, a.was_replay, a.url
    from jsonb_to_record($1::jsonb) as a (endpoint_id uuid, subject_id uuid, claim uuid, epoch bigint, version int, type text,
      is_delivered boolean, is_final boolean, nth int, http_status int, duration_ms int, answer text, error text, sent_id uuid, delay_ms bigint, was_replay boolean, url text)
  ),
  held as materialized (
    select d.endpoint_id, d.subject_id, d.due_version, d.is_replay, d.attempts
    from attempt a join delivery d on d.endpoint_id = a.endpoint_id and d.subject_id = a.subject_id and d.claim = a.claim
    for no key update of d
  ),
  recorded as (
    update delivery d set
      claim = null, claimed_until = null,
      acked_epoch = case when a.is_done then a.epoch else d.acked_epoch end,
      acked_version = case when a.is_done then a.version else d.acked_version end,
      is_replay = d.is_replay and (not (a.is_done and a.was_replay) or d.attempts < 0),
      due_version = case when a.is_done and d.due_version <= a.version and not ${mustRepeat} then null else d.due_version end,
      attempts = case when a.is_done or ${isRestarted} then 0 else a.nth end,
      attempt_at = case
        when d.due_version > a.version or case when a.is_done then ${mustRepeat} else ${isRestarted} end then ${dueNow}
        when not a.is_done then coalesce(clock_timestamp() + a.delay_ms * interval '1 millisecond', 'infinity')
      end
    from attempt a join held using (endpoint_id, subject_id)
    where d.endpoint_id = a.endpoint_id and d.subject_id = a.subject_id
  ),
  superseded as (
    -- The attempt read a newer version before the fan-out did, which marks the others.
    insert into delivery_attempt (endpoint_id, subject_id, epoch, version, result)
    select d.endpoint_id, d.subject_id, a.epoch, d.due_version, 'superseded'
    from held d cross join attempt a where a.is_done and d.due_version < a.version and not ${mustRepeat}
  ),
  kept as (
    insert into delivery_attempt (endpoint_id, subject_id, epoch, version, type, result, attempt, http_status, duration_ms, answer, error, sent_id)
    select a.endpoint_id, a.subject_id, a.epoch, a.version, a.type, case when a.is_delivered then 'delivered' else 'failed' end, a.nth,
      a.http_status, a.duration_ms, a.answer, a.error, a.sent_id from attempt a
  )
  update endpoint e set failing_since = case when a.is_delivered then null else clock_timestamp() end,
    recovered_at = case when a.is_delivered then clock_timestamp() else e.recovered_at end
  from attempt a
  where e.id = a.endpoint_id and e.url = a.url and case when a.is_delivered then e.failing_since is not null else not a.is_done and ${beginsToFail} end
  returning e.failing_since`,
} as const;

/**
 * Records one attempt. After a final failure the version counts as acknowledged, so that a later version is no other message, and the
 * endpoint does not count as failing. `delayMs`: the time to the next attempt after a failure; undefined: this was the last. Returns whether the
 * endpoint has begun to fail or has recovered with it; undefined for an attempt that changed nothing about that.
 */
export async function recordAttempt(
  pool: pg.Pool,
  {
    claimed,
    message,
    reply,
    delayMs,
  }: { claimed: Claimed; message: Message; reply: Reply; delayMs: number | undefined },
): Promise<"failing" | "recovered" | undefined> {
  const attempt = {
    endpoint_id: claimed.endpointId,
    subject_id: claimed.subjectId,
    claim: claimed.claim,
    epoch: message.epoch,
    version: message.version,
    type: message.type,
    is_delivered: reply.isDelivered,
    is_final: reply.isFinal ?? false,
    nth: claimed.attempts + 1,
    http_status: reply.status,
    duration_ms: Math.round(reply.durationMs),
    answer: storable(reply.answer),
    error: storable(reply.error),
    sent_id: reply.sentId,
    delay_ms: delayMs,
    was_replay: claimed.isReplay,
    url: claimed.url,
  };
  type ChangedEndpoint = { failing_since: Date | null };
  const [changed] = await run<ChangedEndpoint>(pool, recordStatement, [JSON.stringify(attempt)]);
  return changed && (changed.failing_since ? "failing" : "recovered");
}

/** PostgreSQL stores neither NUL nor half a character, and an attempt that cannot be recorded would be repeated without end. */
const storable = (text: string | undefined): string | undefined => text?.replaceAll("\u0000", "\uFFFD").toWellFormed();

/** $4: the version. $5: the claimed delivery was a replay. $6: the epoch. $7: the version counts as acknowledged. */
const isDueAgain =
  "(d.due_version > $4 or d.is_replay and (not $5 or d.attempts < 0) or $6 <> (select epoch from timeline))";

/** Clears what is due: the endpoint has the subject's state, or receives no message of its type. A version before it was replaced by it. */
const clearStatement = {
  name: "clear-delivery",
  text: `with held as materialized (
    select endpoint_id, subject_id, due_version, is_replay, attempts from delivery
    where endpoint_id = $1 and subject_id = $2 and claim = $3 for no key update
  ),
  cleared as (
    update delivery d set claim = null, claimed_until = null, is_replay = d.is_replay and (not $5 or d.attempts < 0), attempts = 0,
      acked_epoch = case when $7 then $6 else d.acked_epoch end, acked_version = case when $7 then $4 else d.acked_version end,
      attempt_at = case when ${isDueAgain} then ${dueNow} end, due_version = case when ${isDueAgain} then d.due_version end
    from held where d.endpoint_id = held.endpoint_id and d.subject_id = held.subject_id
  )
  insert into delivery_attempt (endpoint_id, subject_id, epoch, version, result)
  select endpoint_id, subject_id, (select epoch from timeline), due_version, 'superseded'
  from held d where due_version < $4 and not coalesce(${isDueAgain}, false)`,
} as const;

/**
 * `known`: a state that needs no message. `isAcknowledged`: the receiver has decided so, and need not be asked again. A version that became
 * due since stays due, and so does every version in another epoch.
 */
export const clearDelivery = (
  pool: pg.Pool,
  { endpointId, subjectId, claim, isReplay }: Claimed,
  known: KnownState,
  isAcknowledged = false,
): Promise<object[]> =>
  run(pool, clearStatement, [
    ...[endpointId, subjectId, claim, known.version, isReplay, known.epoch],
    isAcknowledged && known.epoch !== undefined,
  ]);

/** $4: the version that the receiver defers. $5: milliseconds. A newer version, or a replay since the claim, is due at once. */
const deferStatement = {
  name: "defer-delivery",
  text: `update delivery set claim = null, claimed_until = null, attempts = greatest(attempts, 0),
      attempt_at = case when due_version > $4 or attempts < 0 then ${dueNow} else clock_timestamp() + $5 * interval '1 millisecond' end
    where endpoint_id = $1 and subject_id = $2 and claim = $3`,
} as const;

/** Makes the delivery due later without counting an attempt. */
export const deferDelivery = (
  pool: pg.Pool,
  { endpointId, subjectId, claim }: Claimed,
  { version, deferMs }: { version: number; deferMs: number },
): Promise<object[]> => run(pool, deferStatement, [endpointId, subjectId, claim, version, deferMs]);

/** Gives the claim back: the delivery is due at once, as if it had not been claimed. */
const releaseStatement = {
  name: "release-delivery",
  text: `update delivery set claim = null, claimed_until = null, attempt_at = ${dueNow}, attempts = greatest(attempts, 0)
    where endpoint_id = $1 and subject_id = $2 and claim = $3`,
} as const;

export const releaseDelivery = (pool: pg.Pool, claimed: Claimed): Promise<object[]> =>
  run(pool, releaseStatement, [claimed.endpointId, claimed.subjectId, claimed.claim]);
