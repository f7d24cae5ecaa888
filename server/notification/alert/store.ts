/**
 * Alerts in the database, and the mails that report them to the merchant. An alert makes the delivery of its kind due, in the statement
 * that stores it. At most one mail of a kind is sent in an hour; a mail has all alerts since the one before.
 *
 * Guarantees: an alert is stored once, however often its event is delivered, and is in one mail that the mail server took. As long as
 * alerts wait for a mail, the delivery of their kind is due; those of a mail that was refused for good wait for the next alert. All
 * attempts to send a mail have the same alerts, and are 5 min apart, however many alerts are stored meanwhile. One node at a time sends
 * the mails of a kind, because one delivery has one attempt at a time.
 */
import type pg from "pg";
import type { Reason } from "../../../client-sdk/protocol.ts";
import { makeDue } from "../../delivery/subject.ts";
import { run } from "../../order/statement.ts";
import { type AlertKind, alertKinds } from "../words.ts";

/** The mails of one kind about live payments, or about test payments, are one subject of deliveries. */
export interface AlertGroup {
  kind: AlertKind;
  live: boolean;
}

export interface StoredAlert extends AlertGroup {
  /** The uuid of an order or an endpoint, the name of a provider, or an invariant and an order. */
  subject: string;
  /** Of the subject: the same alert is stored once. */
  version: number;
}

/** The fixed id of the group as a subject of deliveries. */
const subjectIdOf = ({ kind, live }: AlertGroup): string =>
  `00000000-0000-4000-8000-0000000002${alertKinds.indexOf(kind)}${Number(live)}`;

const groups: ReadonlyMap<string, AlertGroup> = new Map(
  alertKinds.flatMap((kind) => [true, false].map((live) => [subjectIdOf({ kind, live }), { kind, live }])),
);

export const groupOf = (subjectId: string): AlertGroup | undefined => groups.get(subjectId);

/**
 * $1 to $4: the alert. $5: it was asked for again, so that it belongs into another mail. $6: the group's id. Made due as a replay, because
 * an alert that is stored while a mail is sent must be followed by another attempt.
 */
const recordStatement = {
  name: "record-alert",
  text: `with recorded as (
    insert into alert (kind, live, subject, version) values ($1, $2, $3, $4)
    on conflict (kind, live, subject, version) do update set mail = null where $5::boolean
    returning kind, live
  ),
  due as (
    select e.id as endpoint_id, 'alert' as kind, $6::uuid as subject_id, true as is_replay, null::int as replaced,
      1 + coalesce((select max(n) from alert_mail m where m.kind = r.kind and m.live = r.live), 0) as version
    from recorded r join endpoint e on e.notification = 'alert' and not e.is_deleted
  ),
  ${makeDue}
  select subject_id from queued`,
} as const;

/** Throws `store_unavailable`. */
export const recordAlert = (
  pool: pg.Pool,
  { kind, live, subject, version }: StoredAlert,
  isAgain: boolean,
): Promise<object[]> =>
  run(pool, recordStatement, [kind, live, subject, version, isAgain, subjectIdOf({ kind, live })]);

/** Seconds between two mails of a kind. */
const apartS = 3_600;

/** Seconds between two attempts to send a mail, because each alert makes the delivery due at once. As the second delay of the schedule. */
const attemptsApartS = 300;

/** $1, $2: the group. Begins an attempt at the last mail if it was not sent, else the next mail, unless it is too early for that. */
const beginStatement = {
  name: "begin-alert-mail",
  text: `with last as materialized (
    select n, sent_at is null as is_open, coalesce(extract(epoch from case
      when sent_at is null then tried_at + interval '${attemptsApartS} seconds' else sent_at + interval '${apartS} seconds'
      end - clock_timestamp())::float8 * 1000, 0) as wait_ms
    from alert_mail where kind = $1 and live = $2 order by n desc limit 1
  ),
  waiting as materialized (
    select coalesce(last.n, 0) as last_n, coalesce(last.is_open, false) as is_open, coalesce(last.wait_ms, 0) as wait_ms,
      exists (select from alert where kind = $1 and live = $2 and mail is null) as is_any
    from (select) one left join last on true
  ),
  retried as (
    update alert_mail m set tried_at = clock_timestamp() from waiting
    where m.kind = $1 and m.live = $2 and m.n = last_n and is_open and wait_ms <= 0
    returning m.n
  ),
  begun as (
    insert into alert_mail (kind, live, n, tried_at)
    select $1, $2, last_n + 1, clock_timestamp() from waiting where is_any and not is_open and wait_ms <= 0
    returning n
  ),
  taken as (
    update alert set mail = begun.n from begun where kind = $1 and live = $2 and mail is null
  )
  select coalesce((select n from begun), (select n from retried)) as n,
    case when wait_ms > 0 and (is_open or is_any) then wait_ms end as "waitMs"
  from waiting`,
} as const;

export interface BegunMail {
  /** The number of the mail to send now. Null: none. */
  n: number | null;
  /** Milliseconds until the next attempt. Null: no alert waits for it. */
  waitMs: number | null;
}

/** Throws `store_unavailable`. */
export async function beginAlertMail(pool: pg.Pool, { kind, live }: AlertGroup): Promise<BegunMail> {
  const [found] = await run<BegunMail>(pool, beginStatement, [kind, live]);
  return found ?? { n: null, waitMs: null };
}

export interface AlertRow {
  subject: string;
  at: Date;
  /** All alerts of the mail. */
  count: number;
  order_id: string | null;
  amount_minor: number | null;
  paid_minor: number | null;
  currency: string | null;
  reason: Reason | null;
  url: string | null;
}

/** $1, $2: the group. $3: the mail. The first alerts, with the orders and endpoints as they are now. */
const readStatement = {
  name: "read-alert-mail",
  text: `select a.subject, a.at, (select count(*)::int from alert where kind = $1 and live = $2 and mail = $3) as count,
      o.order_id, o.amount_minor, (o.payment ->> 'amountPaidMinor')::bigint as paid_minor, o.currency, o.reason, e.url
    from (
        select subject, at, case when kind in ('review', 'paid_twice', 'endpoint_disabled') then subject::uuid end as id
        from alert where kind = $1 and live = $2 and mail = $3 order by at limit 10
      ) a
      left join lateral (select order_id, amount_minor, payment, currency, reason from "order" where id = a.id offset 0) o on true
      left join lateral (select url from endpoint where id = a.id offset 0) e on true
    order by a.at`,
} as const;

/** Throws `store_unavailable`. */
export const readAlertMail = (pool: pg.Pool, { kind, live }: AlertGroup, n: number): Promise<AlertRow[]> =>
  run<AlertRow>(pool, readStatement, [kind, live, n]);

/** $1, $2: the group. $3: the mail. $4: the group's id. Alerts that were stored while the mail could not be sent need another attempt. */
const sentStatement = {
  name: "alert-mail-sent",
  text: `with sent as (
    update alert_mail set sent_at = clock_timestamp() where kind = $1 and live = $2 and n = $3 returning kind, live, n
  ),
  due as (
    select e.id as endpoint_id, 'alert' as kind, $4::uuid as subject_id, true as is_replay, null::int as replaced, s.n + 1 as version
    from sent s join endpoint e on e.notification = 'alert' and not e.is_deleted
    where exists (select from alert a where a.kind = s.kind and a.live = s.live and a.mail is null)
  ),
  ${makeDue}
  select subject_id from queued`,
} as const;

/** Throws `store_unavailable`. */
export const recordSent = (pool: pg.Pool, { kind, live }: AlertGroup, n: number): Promise<object[]> =>
  run(pool, sentStatement, [kind, live, n, subjectIdOf({ kind, live })]);

/** $1, $2: the group. $3: the mail. Its alerts wait for the next one, and the hour until that begins. */
const refusedStatement = {
  name: "alert-mail-refused",
  text: `with refused as (
    update alert_mail set sent_at = clock_timestamp() where kind = $1 and live = $2 and n = $3 returning n
  )
  update alert set mail = null from refused where kind = $1 and live = $2 and mail = refused.n`,
} as const;

/** The mail server will never take the mail. Throws `store_unavailable`. */
export const recordRefused = (pool: pg.Pool, { kind, live }: AlertGroup, n: number): Promise<object[]> =>
  run(pool, refusedStatement, [kind, live, n]);
