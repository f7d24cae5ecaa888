/**
 * Claims deliveries whose attempt is due. A claim puts the attempt off by its lease, so that the delivery of a killed process is due
 * again when the lease ends. Any number of nodes may claim at once; each delivery goes to one of them.
 */
import type pg from "pg";
import { run } from "../order/statement.ts";
import type { SubjectKind } from "./subject.ts";

/** Attempts in flight to one endpoint, from one node. */
const concurrency = 32;

/** To an endpoint whose last attempt failed: few, because each may hold a connection for 15 s. */
const failingConcurrency = 4;

/** Longer than an attempt (15 s) and the record of its result. */
export const leaseS = 35;

export interface Claimed {
  endpointId: string;
  kind: SubjectKind;
  subjectId: string;
  dueVersion: number;
  /** The endpoint's URL at the claim. */
  url: string;
  /** The name of a notification; null for a URL of the merchant's backend. */
  notification: string | null;
  /** Failed attempts before this one. */
  attempts: number;
  /** The merchant has asked for it again. */
  isReplay: boolean;
  /** Names the last request to send the subject again; grows with each. 0: there was none. */
  replays: number;
  /** Names this attempt: only its owner records the result. */
  claim: string;
}

/**
 * $1, $2: the endpoints with attempts in flight on this node, and their numbers. $3: the notifications of this node. One index probe for
 * each endpoint.
 */
const claimStatement = {
  name: "claim-deliveries",
  text: `with ready as materialized (
    select d.place
    from endpoint e
      left join unnest($1::uuid[], $2::int[]) as busy (id, attempts) on busy.id = e.id
      cross join lateral (
        select ctid as place from delivery
        where endpoint_id = e.id and attempt_at <= statement_timestamp()
        order by attempt_at
        limit greatest(0, case when e.failing_since is null then ${concurrency} else ${failingConcurrency} end - coalesce(busy.attempts, 0))
        for update skip locked
      ) d
    where e.enabled and not e.is_deleted and (e.notification is null or e.notification = any ($3))
  )
  update delivery d set claim = gen_random_uuid(), claimed_until = clock_timestamp() + interval '${leaseS} seconds',
    attempt_at = clock_timestamp() + interval '${leaseS} seconds', attempts = greatest(d.attempts, 0)
  from endpoint e
  -- By a list of places, because the planner does not know the limit: it would read the whole table for an endpoint that is far behind.
  where d.ctid = any (array(select place from ready)) and e.id = d.endpoint_id
  returning d.endpoint_id as "endpointId", d.kind, d.subject_id as "subjectId", coalesce(d.due_version, 0) as "dueVersion",
    e.url, e.notification, d.attempts, d.is_replay as "isReplay", d.replays, d.claim`,
} as const;

/** `busy`: attempts in flight by endpoint. `notifications`: those that this node has. Throws `store_unavailable`. */
export const claimDeliveries = (
  pool: pg.Pool,
  busy: ReadonlyMap<string, number>,
  notifications: readonly string[] = [],
): Promise<Claimed[]> => run<Claimed>(pool, claimStatement, [[...busy.keys()], [...busy.values()], notifications]);
