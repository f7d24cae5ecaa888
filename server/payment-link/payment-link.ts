/** Payment links, as the routes and the shop use them. */
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import type { ReadLinks } from "../delivery/link-message.ts";
import type { Provider } from "../provider/provider.ts";
import { cancelLink } from "./cancel.ts";
import { createLink } from "./create.ts";
import { readLinkDraft } from "./draft.ts";
import { type LinkFilter, listLinks, readLink, readLinkStates } from "./read.ts";
import { type LinkRow, type PaymentLink, toPaymentLink } from "./row.ts";
import { openToken, type PageKind } from "./token.ts";

/** Every method throws `store_unavailable` when PostgreSQL cannot be reached or is too busy. */
export interface PaymentLinks {
  /** Throws the errors that `POST /v1/payment-links` answers. */
  create(body: unknown, idempotencyKey?: string): Promise<{ paymentLink: PaymentLink; isReplayed: boolean }>;
  /** Newest first. Throws `body_invalid` for a cursor that no list returned. */
  list(filter: LinkFilter): Promise<{ data: PaymentLink[]; nextCursor: string | null }>;
  /** Throws `payment_link_unknown`. */
  read(id: string): Promise<PaymentLink>;
  /** Throws `payment_link_unknown`, and `payment_link_closed` for a link that is paid or expired. */
  cancel(id: string): Promise<PaymentLink>;
  /** Those links that exist, for their messages. */
  states: ReadLinks;
}

export interface PaymentLinksOptions {
  pool: pg.Pool;
  sealer: Sealer;
  providers: ReadonlyMap<string, Provider>;
  /** Base of the links' URLs. */
  publicUrl: () => string;
  /** Called after a change. */
  onChange: () => void;
}

export function createPaymentLinks(options: PaymentLinksOptions): PaymentLinks {
  const { pool, sealer, providers, publicUrl, onChange } = options;
  const toView = (row: LinkRow): PaymentLink => toPaymentLink(row, urlOf(row, { sealer, publicUrl }));
  return {
    async create(body, idempotencyKey) {
      const { row, isReplayed } = await createLink({ pool, sealer }, readLinkDraft(body, providers), idempotencyKey);
      onChange();
      return { paymentLink: toView(row), isReplayed };
    },
    async list(filter) {
      const { rows, nextCursor } = await listLinks(pool, filter);
      return { data: rows.map(toView), nextCursor };
    },
    read: async (id) => toView(await readLink(pool, id)),
    async cancel(id) {
      const row = await cancelLink(pool, id);
      onChange();
      return toView(row);
    },
    async states(ids) {
      return (await readLinkStates(pool, ids)).map((row) => ({
        id: row.id,
        epoch: row.epoch,
        version: row.version,
        type: `paymentLink.${row.status}`,
        occurredAt: row.changed_at,
        paymentLink: toView(row),
      }));
    },
  };
}

/** The first part of the path of a page. */
const paths: Readonly<Record<PageKind, string>> = { "payment-link": "pay", plan: "plan" };

/** The address of the page of a payment link or a plan. Undefined if none of this node's `TUKIO_SECRET`s sealed the token. */
export function urlOf(
  { id, token }: Pick<LinkRow, "id" | "token">,
  { sealer, publicUrl }: Pick<PaymentLinksOptions, "sealer" | "publicUrl">,
  kind: PageKind = "payment-link",
): string | undefined {
  const opened = openToken(sealer, id, token, kind);
  return opened === undefined ? undefined : `${publicUrl()}/${paths[kind]}/${opened}`;
}
