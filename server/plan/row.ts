/** Plans as PostgreSQL returns them, and as the merchant sees them. */
import type { Language } from "../order/order.ts";
import { withMaskedPhone } from "../order/query.ts";
import { columns } from "../order/row.ts";
import type { LinkStatus } from "../payment-link/row.ts";
import type { PageKind } from "../payment-link/token.ts";
import type { Every } from "./schedule.ts";

export const planKinds = ["instalments", "subscription"] as const;

export type PlanKind = (typeof planKinds)[number];

export const planStatuses = ["active", "past_due", "completed", "cancelled", "paused"] as const;

export type PlanStatus = (typeof planStatuses)[number];

/** Instalments of a plan that is counted, and those that a message about an endless plan contains: the newest. */
export const instalmentsMax = 120;

const names = [
  ...["id", "plan_id", "version", "status", "status_version", "status_at", "started_version", "started_at", "kind"],
  ...["customer", "provider", "currency", "description", "metadata", "lang", "schedule", "time_zone", "prompt_at"],
  ...["remind_days_before", "grace_days", "next_index", "token", "created_at", "changed_at"],
];

/** Selects `PlanRow`s of `plan p`, and further columns, with a condition, an order and a limit after it. */
export const selectPlans = (
  ...further: string[]
): string => `select ${[columns("p", names), ...further].join(", ")}, (select epoch from timeline) as epoch, money.paid_minor, money.open_minor, latest.instalments
    from plan p
      cross join lateral (
        select coalesce(sum(amount_minor) filter (where status = 'paid'), 0)::bigint as paid_minor,
          coalesce(sum(amount_minor) filter (where status = 'open'), 0)::bigint as open_minor
        from payment_link where plan_uuid = p.id and plan_n is not null
      ) money
      cross join lateral (
        select coalesce(jsonb_agg(jsonb_build_object('id', l.id, 'token', encode(l.token, 'hex'), 'n', l.plan_n,
          'order_id', coalesce((select order_id from payment_link where id = l.covered_by), l.order_id),
          'due_at', iso(l.due_at), 'amount_minor', l.amount_minor, 'status', l.status) order by l.plan_n), '[]') as instalments
        from (
          select id, token, plan_n, order_id, covered_by, due_at, amount_minor, status from payment_link
          where plan_uuid = p.id and plan_n is not null
          order by plan_n desc limit ${instalmentsMax}
        ) l
      ) latest`;

/** The schedule of a plan whose instalments are repeated, as JSON. Exactly one of the amounts is present. */
export interface RecurringSchedule {
  /** Of each instalment. */
  amountMinor?: number | undefined;
  /** Of all of them together. */
  totalMinor?: number | undefined;
  every: Every;
  /** Absent: endless. */
  count?: number | undefined;
  firstDueAt: string;
}

interface InstalmentRow {
  /** Of its payment link. */
  id: string;
  /** Encrypted, in hexadecimal digits. */
  token: string;
  n: number;
  order_id: string;
  due_at: string;
  amount_minor: number;
  status: LinkStatus;
}

export interface PlanRow {
  id: string;
  epoch: number;
  plan_id: string;
  version: number;
  status: PlanStatus;
  status_version: number;
  status_at: Date;
  started_version: number | null;
  started_at: Date | null;
  kind: PlanKind;
  /** Null once it is erased. */
  customer: Record<string, unknown> | null;
  provider: string | null;
  currency: string;
  description: string | null;
  metadata: Record<string, unknown> | null;
  lang: Language | null;
  /** Null: the merchant gave each instalment. */
  schedule: RecurringSchedule | null;
  time_zone: string;
  prompt_at: string;
  remind_days_before: number[];
  grace_days: number;
  /** The place in the schedule of the next instalment of an endless plan. */
  next_index: number;
  /** Of its page, encrypted. Null until a node has added it to a plan of an older version. */
  token: Buffer | null;
  created_at: Date;
  changed_at: Date;
  paid_minor: number;
  open_minor: number;
  instalments: InstalmentRow[];
}

/** An instalment. Its payment link takes the money. */
export interface Instalment {
  n: number;
  dueAt: string;
  amountMinor: number;
  /** That of its payment link. */
  status: LinkStatus;
  /** The id of the order that has paid it, else of the one that its page opens. */
  orderId: string;
  /** The address of its page. Absent if none of this node's `TUKIO_SECRET`s can decrypt the token. */
  url?: string;
}

/** A plan. */
export interface Plan {
  id: string;
  planId: string;
  /** Starts at 1 and grows by one with every change, also of an instalment. */
  version: number;
  status: PlanStatus;
  kind: PlanKind;
  currency: string;
  paidMinor: number;
  /** Absent for an endless plan. */
  remainingMinor?: number;
  instalments: Instalment[];
  /** The address of its page. Absent as that of an instalment, and until a node has added it to a plan of an older version. */
  url?: string;
  /** Its phone is masked. */
  customer?: Record<string, unknown>;
  provider?: string;
  description?: string;
  metadata?: Record<string, unknown>;
  lang?: Language;
  schedule?: RecurringSchedule;
  timeZone: string;
  promptAt: string;
  remindDaysBefore: number[];
  graceDays: number;
  startedAt?: string;
  createdAt: string;
  changedAt: string;
}

/** Whether instalments are created for as long as the plan goes on. */
export const isEndless = ({ schedule }: Pick<PlanRow, "schedule">): boolean =>
  schedule !== null && schedule.count === undefined;

const present = <T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)) as never;

/** The address of the page of a plan or a payment link, by its id and its encrypted token. */
export type FindUrl = (page: { id: string; token: Buffer }, kind: PageKind) => string | undefined;

export const toPlan = (row: PlanRow, urlOf: FindUrl): Plan => ({
  id: row.id,
  planId: row.plan_id,
  version: row.version,
  status: row.status,
  kind: row.kind,
  currency: row.currency,
  paidMinor: row.paid_minor,
  ...present({ remainingMinor: isEndless(row) ? null : row.open_minor }),
  instalments: row.instalments.map(({ id, token, ...one }) => ({
    n: one.n,
    dueAt: one.due_at,
    amountMinor: one.amount_minor,
    status: one.status,
    orderId: one.order_id,
    ...present({ url: urlOf({ id, token: Buffer.from(token, "hex") }, "payment-link") }),
  })),
  ...present({
    url: row.token && urlOf({ id: row.id, token: row.token }, "plan"),
    customer: row.customer && withMaskedPhone(row.customer),
    provider: row.provider,
    description: row.description,
    metadata: row.metadata,
    lang: row.lang,
    schedule: row.schedule,
  }),
  timeZone: row.time_zone,
  promptAt: row.prompt_at,
  remindDaysBefore: row.remind_days_before,
  graceDays: row.grace_days,
  ...present({ startedAt: row.started_at?.toISOString() }),
  createdAt: row.created_at.toISOString(),
  changedAt: row.changed_at.toISOString(),
});
