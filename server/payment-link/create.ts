/**
 * Creates payment links. One statement locks the order id, and checks that neither an order nor a link has it, so that of any number of
 * links and orders with one id exactly one is created.
 */
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import type { Sealer } from "../auth/keys.ts";
import { sqlState } from "../database/pool.ts";
import { makeLinksDue } from "../delivery/link-message.ts";
import { HubError } from "../errors.ts";
import type { Item, Language } from "../order/order.ts";
import { run } from "../order/statement.ts";
import { type LinkRow, linkColumns } from "./row.ts";
import { createToken, hashOf, sealToken } from "./token.ts";

/** A merchant's request, validated and normalised. */
export interface LinkDraft {
  orderId: string;
  /** Absent if the payer enters the amount. */
  amountMinor?: number | undefined;
  currency: string;
  description?: string | undefined;
  items?: readonly Item[] | undefined;
  customer?: Record<string, unknown> | undefined;
  metadata?: Record<string, unknown> | undefined;
  providers?: readonly string[] | undefined;
  returnUrl?: string | undefined;
  lang?: Language | undefined;
  reusable?: { minMinor?: number | undefined; maxMinor?: number | undefined } | undefined;
  expiresAt?: Date | undefined;
  dueAt?: Date | undefined;
}

/** The columns that come from the request, with PostgreSQL's types. */
const draftFields = {
  id: "uuid",
  order_id: "text",
  amount_minor: "bigint",
  min_minor: "bigint",
  max_minor: "bigint",
  currency: "text",
  description: "text",
  items: "jsonb",
  customer: "jsonb",
  metadata: "jsonb",
  providers: "text[]",
  return_url: "text",
  lang: "text",
  is_reusable: "boolean",
  expires_at: "timestamptz",
  due_at: "timestamptz",
} as const;

const names = Object.keys(draftFields).join(", ");

/**
 * $1: the record with `draftFields`. $2, $3: the token's hash and the encrypted token. $4: the idempotency key. $5: the request as JSON.
 * Returns no row when the order id or the key is in use. Fails with a unique violation when two requests with one key race.
 */
const createStatement = {
  name: "create-payment-link",
  text: `with draft as materialized (
    select ${names} from jsonb_to_record($1::jsonb) as draft (${Object.entries(draftFields)
      .map((field) => field.join(" "))
      .join(", ")})
  ),
  created as (
    insert into payment_link as l (${names}, token_hash, token)
    select ${names}, $2, $3 from draft
    where ($4::text is null or not exists (select from payment_link_key where key = $4)) and may_create_link(order_id)
    on conflict (order_id) do nothing
    returning ${linkColumns("l")}
  ),
  kept_key as (
    insert into payment_link_key (key, request, payment_link_id, created_at)
    select $4, sha256(convert_to($5::jsonb::text, 'UTF8')), id, created_at from created where $4::text is not null
  ),
  changed_link as (select id, version, status, null::uuid as plan_uuid from created),
  ${makeLinksDue}
  select ${linkColumns("created")} from created`,
} as const;

/** Reads an idempotency key: its link, and whether the request was the same and the key has expired. */
const keyStatement = {
  name: "read-payment-link-key",
  text: `select ${linkColumns("l")}, k.request = sha256(convert_to($2::jsonb::text, 'UTF8')) as is_same,
      k.created_at < clock_timestamp() - interval '72 hours' as is_expired
    from payment_link_key k join payment_link l on l.id = k.payment_link_id where k.key = $1`,
} as const;

const deleteKeyStatement = {
  name: "delete-payment-link-key",
  text: "delete from payment_link_key where key = $1 and created_at < clock_timestamp() - interval '72 hours'",
} as const;

export interface CreateOptions {
  pool: pg.Pool;
  sealer: Sealer;
}

export interface CreatedRow {
  row: LinkRow;
  /** The idempotency key was used before: nothing was created. */
  isReplayed: boolean;
}

/** Three, because an expired key is deleted first, and another request may take it meanwhile. */
const attemptsMax = 3;

/** Throws `order_mismatch` if the order id is in use, and `idempotency_mismatch`. */
export async function createLink(
  options: CreateOptions,
  draft: LinkDraft,
  idempotencyKey?: string,
): Promise<CreatedRow> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const row = await tryToCreate(options, draft, idempotencyKey);
    if (row) return { row, isReplayed: false };
    const used = idempotencyKey === undefined ? "free" : await readKey(options.pool, idempotencyKey, draft);
    if (used === "free") throw new HubError("order_mismatch", "An order or a payment link has this order id");
    if (used !== "expired") return { row: used, isReplayed: true };
  }
  throw new HubError("store_unavailable", "The idempotency key is changing too fast; try again", { retryAfterS: 1 });
}

async function tryToCreate(
  { pool, sealer }: CreateOptions,
  draft: LinkDraft,
  idempotencyKey: string | undefined,
): Promise<LinkRow | undefined> {
  const [id, token] = [uuidv7(), createToken()];
  const record = JSON.stringify(recordOf(id, draft));
  const values = [record, hashOf(token), sealToken(sealer, id, token), idempotencyKey, JSON.stringify(draft)];
  const [row] = (await run<LinkRow>(pool, createStatement, values).catch(undefinedIfRaced)) ?? [];
  return row;
}

const recordOf = (id: string, draft: LinkDraft): Record<keyof typeof draftFields, unknown> => ({
  id,
  order_id: draft.orderId,
  amount_minor: draft.amountMinor,
  min_minor: draft.reusable?.minMinor,
  max_minor: draft.reusable?.maxMinor,
  currency: draft.currency,
  description: draft.description,
  items: draft.items,
  customer: draft.customer,
  metadata: draft.metadata,
  providers: draft.providers,
  return_url: draft.returnUrl,
  lang: draft.lang,
  is_reusable: draft.reusable !== undefined,
  expires_at: draft.expiresAt,
  due_at: draft.dueAt,
});

/** Another request with the same key has created a link. */
function undefinedIfRaced(error: unknown): undefined {
  const { constraint } = error as { constraint?: unknown };
  if (sqlState(error) === "23505" && String(constraint).startsWith("payment_link_key")) return undefined;
  throw error;
}

/** The link that was created with the key. Throws `idempotency_mismatch` for another request. */
async function readKey(pool: pg.Pool, key: string, draft: LinkDraft): Promise<LinkRow | "free" | "expired"> {
  type KeyRow = LinkRow & { is_same: boolean; is_expired: boolean };
  const [used] = await run<KeyRow>(pool, keyStatement, [key, JSON.stringify(draft)]);
  if (!used) return "free";
  if (used.is_expired) {
    await run(pool, deleteKeyStatement, [key]);
    return "expired";
  }
  if (!used.is_same) throw new HubError("idempotency_mismatch");
  return used;
}
