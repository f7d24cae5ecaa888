/**
 * Erases personal data when its retention ends. `tables` lists every column of every table; the statements are made from it,
 * and a test compares it with the schema.
 *
 * Guarantees: a statement erases at most 500 rows in a commit of its own, finds them through an index, and skips rows that
 * another transaction has locked, so that no payment waits for it. Any number of nodes may erase at once. Erasure changes
 * neither the version nor the status of an order, so watchers receive nothing. Not guaranteed: PostgreSQL keeps erased bytes in
 * its files until it vacuums the table and recycles the write-ahead log.
 */

import type { Database } from "../database/pool.ts";
import { type Loop, startLoop } from "../loop.ts";

/** The period of all data about payers, in the database and in files. */
export const payerDataDays = 90;

const keptFor = `${payerDataDays} days`;

export interface TableRetention {
  /** The value of each personal column after its erasure, in SQL; null: the whole row is deleted. */
  personal?: Readonly<Record<string, string | null>>;
  /** Personal columns whose personal part is removed by the statement that ends the payment. */
  personalWhileOpen?: readonly string[];
  notPersonal?: readonly string[];
  /** The column with the time from which the period counts. */
  since?: string;
  /** The period, as an interval of PostgreSQL. */
  keptFor?: string;
  /** The rows that have anything to erase: the condition of each partial index of the table. Absent: every row has. */
  isPresent?: readonly string[];
}

const hasFullPhone = "phone ~ '^[+][0-9]+$'";

/** The phone as `maskPhone` shows it. */
const maskedPhone = "left(phone, 5) || repeat('*', greatest(1, length(phone) - 8)) || right(phone, 3)";

/** Daraja's reference ends with the phone in local form. */
const maskedReference = "replace(reference, right(phone, 9), '******' || right(phone, 3))";

/** Every column of every table. A column that may hold data of the payer, or free text of a person, is personal. */
export const tables: Readonly<Record<string, TableRetention>> = {
  order: {
    personal: {
      description: "null",
      customer: "null",
      metadata: "null",
      // Not null, so that a further attempt may bring the items again: an order that was opened without items takes none.
      items: "case when items is not null then '[]'::jsonb end",
      results: "null",
    },
    // Its action: the masked phone, or the address of the provider's page.
    personalWhileOpen: ["payment"],
    notPersonal: [
      ...["id", "order_id", "amount_minor", "currency", "version", "status", "reason", "attempt", "also_paid"],
      ...["lang", "opened_at", "changed_at", "payment_link_id", "pays_link"],
    ],
    // A further attempt may bring the data again, so its period begins again.
    since: "changed_at",
    keptFor,
    isPresent: [
      "description is not null or customer is not null or metadata is not null",
      "results is not null or items <> '[]'",
    ],
  },
  payment: {
    personal: {
      phone: `case when ${hasFullPhone} then ${maskedPhone} else phone end`,
      reference: `case when ${hasFullPhone} then ${maskedReference} else reference end`,
      return_url: "null",
      action: "null",
      payer: "null",
    },
    notPersonal: [
      ...["id", "order_uuid", "attempt", "provider", "live", "amount_minor", "currency", "status", "reason"],
      // The receipt is the proof of the money and names no person.
      ...["receipt", "amount_paid_minor", "suspected"],
      ...["started_at", "expires_at", "check_at", "suspected_at", "completing_at", "paid_at"],
    ],
    since: "started_at",
    keptFor,
    isPresent: [`${hasFullPhone} or return_url is not null or action is not null`, "payer is not null"],
  },
  event: {
    personal: { payment: "payment - 'action'", note: "null", results: "null" },
    notPersonal: ["order_uuid", "version", "status", "reason", "also_paid", "occurred_at", "source", "xid"],
    since: "occurred_at",
    keptFor,
    isPresent: ["note is not null or payment ? 'action'", "results is not null"],
  },
  webhook: {
    personal: { headers: "'{}'", body: "''", reference: "null", error: "null" },
    notPersonal: ["id", "provider", "payment_id", "proof", "result", "offer_at", "received_at"],
    since: "received_at",
    keptFor,
    isPresent: ["body <> '' or headers <> '{}' or reference is not null or error is not null"],
  },
  idempotency: {
    // The merchant chooses the key. The request is a hash that a list of phones could reveal.
    personal: { key: null, request: null },
    notPersonal: ["order_uuid", "created_at"],
    since: "created_at",
    keptFor: "72 hours",
  },
  payment_link: {
    personal: { description: "null", customer: "null", metadata: "null", items: "null", return_url: "null" },
    notPersonal: [
      ...["id", "order_id", "version", "status", "token_hash", "token", "amount_minor", "min_minor", "max_minor"],
      ...[
        "currency",
        "providers",
        "lang",
        "is_reusable",
        "next_n",
        "expires_at",
        "due_at",
        "created_at",
        "changed_at",
        "xid",
        "plan_uuid",
        "plan_n",
        "covers",
        "covered_by",
        "overdue_at",
        "seen_version",
      ],
    ],
    // An open link needs its data, however old it is.
    since: "changed_at",
    keptFor,
    isPresent: [
      "status <> 'open' and (description is not null or customer is not null or metadata is not null or items is not null or return_url is not null)",
    ],
  },
  payment_link_key: {
    personal: { key: null, request: null },
    notPersonal: ["payment_link_id", "created_at"],
    since: "created_at",
    keptFor: "72 hours",
  },
  plan: {
    personal: { description: "null", customer: "null", metadata: "null" },
    notPersonal: [
      ...["id", "plan_id", "version", "status", "status_version", "status_at", "started_version", "started_at", "kind"],
      ...["provider", "currency", "lang", "schedule", "time_zone", "prompt_at", "remind_days_before", "grace_days"],
      ...["next_n", "next_index", "grows_at", "past_due_at", "collects_at", "prompted_on", "token_hash", "token"],
      ...["created_at", "changed_at"],
    ],
    // A plan that goes on needs its data, however old it is.
    since: "changed_at",
    keptFor,
    isPresent: [
      "status in ('completed', 'cancelled') and (description is not null or customer is not null or metadata is not null)",
    ],
  },
  plan_key: {
    personal: { key: null, request: null },
    notPersonal: ["plan_uuid", "created_at"],
    since: "created_at",
    keptFor: "72 hours",
  },
  plan_clock: { notPersonal: ["is_single", "ahead_ms"] },
  receipt: { notPersonal: ["provider", "receipt", "payment_id"] },
  credential: { notPersonal: ["provider", "sealed", "expires_at"] },
  query_pace: { notPersonal: ["provider", "next_at", "halvings", "halved_at"] },
  token_call: { notPersonal: ["provider", "at"] },
  // The addresses of the merchant's own servers.
  endpoint: {
    notPersonal: [
      ...["id", "url", "description", "events", "enabled", "disabled_because", "version", "secret", "old_secret"],
      ...["old_secret_until", "failing_since", "recovered_at", "created_at", "changed_at", "created_epoch"],
      ...["created_snapshot", "is_joined", "filtered_at", "resumed_to", "is_deleted", "notification", "seen_at"],
    ],
  },
  delivery: {
    notPersonal: [
      ...["endpoint_id", "kind", "subject_id", "acked_epoch", "acked_version", "due_version", "is_replay", "replays"],
      ...["attempts", "attempt_at", "claim", "claimed_until"],
    ],
  },
  delivery_attempt: {
    // A backend or a mail server may answer with data of the payer.
    personal: { answer: null, error: null },
    notPersonal: [
      ...["endpoint_id", "id", "subject_id", "epoch", "version", "type", "result", "attempt", "http_status"],
      ...["duration_ms", "at", "sent_id"],
    ],
    since: "at",
    keptFor: "30 days",
  },
  receipt_token: { notPersonal: ["hash", "order_uuid", "created_at"] },
  // The number and the text of an SMS are not stored.
  sms: {
    notPersonal: [...["id", "order_uuid", "replays", "provider", "status", "reference", "parts", "at", "reported_at"]],
  },
  alert: { notPersonal: ["kind", "live", "subject", "version", "at", "mail"] },
  alert_mail: { notPersonal: ["kind", "live", "n", "created_at", "tried_at", "sent_at"] },
  // The rows of sessions are deleted at the next sign-in after they expire.
  api_key: { notPersonal: ["id", "hash", "name", "scopes", "session_of", "created_at", "expires_at"] },
  api_key_mark: { notPersonal: ["is_single", "mark"] },
  audit: {
    // The name of a key may be a person's.
    personal: { key_name: null },
    notPersonal: ["at", "id", "operation", "key_id", "is_desk", "subject", "is_done"],
    since: "at",
    keptFor: "365 days",
  },
  fan_out: { notPersonal: ["is_single", "seen", "epoch", "swept_at", "swept_id"] },
  timeline: { notPersonal: ["is_single", "epoch", "server"] },
  node_secret: { notPersonal: ["node", "used", "accepted", "serving_since", "expires_at"] },
  node: { notPersonal: ["id", "facts", "expires_at"] },
  provider_call: { notPersonal: ["minute", "provider", "verb", "took_ms", "calls", "failed"] },
  tukio_schema: { notPersonal: ["version", "oldest"] },
};

/** Rows of one commit. 500, because the statement locks them until its commit. */
const batch = 500;

/** The first `batch` rows by `since`, oldest first. By `ctid`, because PostgreSQL then never reads the whole table for them. */
const oldest = (table: string, since: string, period: string, condition: string): string =>
  `ctid = any (array(
     select ctid from "${table}" where ${since} < statement_timestamp() - interval '${period}' and (${condition})
     order by ${since} limit ${batch} for update skip locked))`;

/** One statement for each partial index, because PostgreSQL reads the oldest rows of one index only. */
function eraseStatementsOf(table: string, retention: TableRetention): { name: string; text: string }[] {
  const { personal, since, keptFor: period, isPresent = ["true"] } = retention;
  if (!personal || !since || !period) return [];
  const values = Object.entries(personal).map(([column, value]) => `${column} = ${value}`);
  const isDeleted = Object.values(personal).includes(null);
  const begin = isDeleted ? `delete from "${table}"` : `update "${table}" set ${values.join(", ")}`;
  return isPresent.map((condition, index) => ({
    name: index === 0 ? `erase-${table}` : `erase-${table}-${index + 1}`,
    text: `${begin} where ${oldest(table, since, period, condition)}`,
  }));
}

export const eraseStatements: readonly { name: string; text: string }[] = [
  {
    name: "delete-refused-webhook",
    text: `delete from webhook where ${oldest("webhook", "received_at", "7 days", "result = 'refused'")}`,
  },
  {
    name: "end-redelivery",
    text: `update webhook set offer_at = null where ${oldest("webhook", "received_at", "7 days", "offer_at is not null")}`,
  },
  ...Object.entries(tables).flatMap(([table, retention]) => eraseStatementsOf(table, retention)),
];

export interface RetentionOptions {
  database: Database;
  /** Erases files that were set aside before a time. */
  files?: { removeDamaged(before: Date): void } | undefined;
  onError: (error: unknown) => void;
  onRecovered?: () => void;
}

/** Erases all data whose retention has ended, in batches. Ends early, between two batches, once `isClosed`. */
export async function erase({ pool }: Database, isClosed: () => boolean = () => false): Promise<void> {
  for (const { text } of eraseStatements) {
    for (let rows = batch; rows === batch && !isClosed(); ) rows = (await pool.query(text)).rowCount ?? 0;
  }
}

const intervalMs = 600_000;

/** Erases now and every ten minutes. */
export function startRetention({ database, files, ...callbacks }: RetentionOptions): Pick<Loop, "close"> {
  let isClosed = false;
  const loop = startLoop({
    task: async () => {
      await erase(database, () => isClosed);
      files?.removeDamaged(new Date(Date.now() - payerDataDays * 86_400_000));
    },
    delayMs: () => intervalMs,
    ...callbacks,
  });
  loop.runNow();
  return {
    close() {
      isClosed = true;
      return loop.close();
    },
  };
}
