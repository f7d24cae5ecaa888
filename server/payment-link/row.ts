/** Payment links as PostgreSQL returns them, and as the merchant sees them. */
import type { Item, Language } from "../order/order.ts";
import { withMaskedPhone } from "../order/query.ts";
import { columns } from "../order/row.ts";

export const linkStatuses = ["open", "paid", "cancelled", "expired"] as const;

export type LinkStatus = (typeof linkStatuses)[number];

const names = [
  "id",
  "order_id",
  "version",
  "status",
  "token",
  "amount_minor",
  "min_minor",
  "max_minor",
  "currency",
  "description",
  "items",
  "customer",
  "metadata",
  "providers",
  "return_url",
  "lang",
  "is_reusable",
  "expires_at",
  "due_at",
  "created_at",
  "changed_at",
] as const;

export const linkColumns = (table: string): string => columns(table, names);

export interface LinkRow {
  id: string;
  order_id: string;
  version: number;
  status: LinkStatus;
  /** Encrypted. */
  token: Buffer;
  /** Null: the payer enters the amount. */
  amount_minor: number | null;
  min_minor: number | null;
  max_minor: number | null;
  currency: string;
  description: string | null;
  items: Item[] | null;
  customer: Record<string, unknown> | null;
  metadata: Record<string, unknown> | null;
  /** Null: all that take the currency. */
  providers: string[] | null;
  return_url: string | null;
  lang: Language | null;
  is_reusable: boolean;
  expires_at: Date | null;
  due_at: Date | null;
  created_at: Date;
  changed_at: Date;
}

/** A payment link. */
export interface PaymentLink {
  id: string;
  orderId: string;
  /** Starts at 1 and grows by one with every change of the status. */
  version: number;
  status: LinkStatus;
  /** The address of its page. Absent if none of this node's `TUKIO_SECRET`s can decrypt the token. */
  url?: string;
  /** Absent if the payer enters the amount. */
  amountMinor?: number;
  currency: string;
  description?: string;
  items?: Item[];
  /** Its phone is masked. */
  customer?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  providers?: string[];
  returnUrl?: string;
  lang?: Language;
  reusable?: { minMinor?: number; maxMinor?: number };
  expiresAt?: string;
  dueAt?: string;
  createdAt: string;
  changedAt: string;
}

const present = <T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)) as never;

export const toPaymentLink = (row: LinkRow, url: string | undefined): PaymentLink => ({
  id: row.id,
  orderId: row.order_id,
  version: row.version,
  status: row.status,
  currency: row.currency,
  ...present({
    url,
    amountMinor: row.amount_minor,
    description: row.description,
    items: row.items,
    customer: row.customer && withMaskedPhone(row.customer),
    metadata: row.metadata,
    providers: row.providers,
    returnUrl: row.return_url,
    lang: row.lang,
    reusable: row.is_reusable ? present({ minMinor: row.min_minor, maxMinor: row.max_minor }) : null,
    expiresAt: row.expires_at?.toISOString(),
    dueAt: row.due_at?.toISOString(),
  }),
  createdAt: row.created_at.toISOString(),
  changedAt: row.changed_at.toISOString(),
});
