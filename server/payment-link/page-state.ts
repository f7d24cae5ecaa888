/** Reads the state of a link's page for one browser: the link, its order, and what the browser may do. Changes nothing. */
import type pg from "pg";
import type { Status } from "../order/order.ts";
import type { Provider } from "../provider/provider.ts";
import { isFitting } from "./draft.ts";
import { type PageOrder, readPageOrder } from "./page-order.ts";
import { findLink, type PageLinkRow, type ReadRow } from "./read.ts";
import { hashOf, isToken } from "./token.ts";

export interface PageState {
  link: PageLinkRow;
  /** The order that the page shows. */
  order?: PageOrder;
  /**
   * Names the latest payment of the link's order, or of this browser on a reusable link, also if the page does not show it. As a hash,
   * because another browser may have started it.
   */
  formKey: string;
  /** In the order in which the page offers them. */
  providers: readonly Provider[];
  canPay: boolean;
}

export interface PageRequest {
  token: string;
  payer: string;
  /** The browser wants to pay again on the page of a reusable link. */
  isAgain: boolean;
}

/** Undefined for a token that no link has. Throws `store_unavailable`. */
export async function readPageState(
  { pool, providers }: { pool: pg.Pool; providers: ReadonlyMap<string, Provider> },
  { token, payer, isAgain }: PageRequest,
): Promise<PageState | undefined> {
  const link = isToken(token) ? await findLink(pool, hashOf(token)) : undefined;
  if (!link) return undefined;
  const found = await readPageOrder(pool, link, payer);
  const order = isAgain && link.is_reusable && found?.event.settled ? undefined : found;
  const fitting = providersOf(link, providers);
  const isPayable = !order || (order.event.settled && !isFinal(order.event.status));
  return {
    link,
    ...(order && { order }),
    formKey: found ? hashOf(found.event.payment.id).toString("hex").slice(0, 16) : "first",
    providers: fitting,
    canPay: link.current_status === "open" && isPayable && fitting.length > 0,
  };
}

const isFinal = (status: Status): boolean => status === "review" || status === "succeeded";

/** The enabled providers of a link that take its currency and amount. */
function providersOf(link: ReadRow, enabled: ReadonlyMap<string, Provider>): Provider[] {
  const { providers, currency, amount_minor: amountMinor } = link;
  const names = providers ?? [...enabled.keys()];
  return names
    .flatMap((name) => enabled.get(name) ?? [])
    .filter((provider) => isFitting(provider, { currency, ...(amountMinor !== null && { amountMinor }) }));
}
