/** The draft of a payment: a merchant's request, validated and normalised. */
import { HubError } from "../errors.ts";
import type { Item, Language, Payment, StatusEvent } from "./order.ts";
import type { StateRow } from "./row.ts";

export interface PaymentDraft {
  orderId: string;
  provider: string;
  live: boolean;
  /** The provider is the built-in sandbox, where a phone's ending decides what its payer does. */
  isSandbox?: boolean;
  amountMinor: bigint;
  currency: string;
  /** E.164. */
  phone?: string;
  description?: string | undefined;
  customer?: Record<string, unknown> | undefined;
  metadata?: Record<string, unknown> | undefined;
  /** Their sum is the amount. A further attempt without items keeps the order's. */
  items?: readonly Item[] | undefined;
  /** The language of messages to the payer. */
  lang?: Language | undefined;
  returnUrl?: string | undefined;
  /** Seconds from the start to the deadline. */
  deadlineS: number;
  /** Seconds from the start to the first query. */
  firstCheckS: number;
  /** The same request with the same key opens nothing for 72 hours. */
  idempotencyKey?: string;
  /** The request that a repeated one is compared with. Absent: the draft. */
  request?: object | undefined;
  /** The payment link that the payment pays. */
  link?: DraftLink | undefined;
}

export interface DraftLink {
  id: string;
  /** A reusable link opens many orders, and is not paid by one. */
  isReusable: boolean;
  /** SHA-256 of the key of the payer's browser, in hex. Absent: no page has started the payment. */
  payer?: string;
  /** The most payments of one phone that the pages of links may start in an hour. Absent: any number. */
  phoneMax?: number;
}

/** The fields that make two requests with one idempotency key the same request. As jsonb, their order does not matter. */
export function canonicalRequest(draft: PaymentDraft): object {
  if (draft.request) return draft.request;
  const { deadlineS: _, firstCheckS: __, live: ___, idempotencyKey: ____, link: _____, ...request } = draft;
  return { ...request, amountMinor: String(draft.amountMinor) };
}

/** The attempt that the draft opened, as its adapter sees it. */
export function paymentOf(draft: PaymentDraft, row: StateRow, paymentId: string): Payment {
  const { orderId, provider, amountMinor, currency, phone, description, returnUrl } = draft;
  return {
    id: paymentId,
    orderId,
    attempt: row.payment.attempt,
    provider,
    amountMinor,
    currency,
    ...(phone !== undefined && { phone }),
    ...(description !== undefined && { description }),
    ...(returnUrl !== undefined && { returnUrl }),
  };
}

/** The error for a draft without a payment link, or with another one than the owner of the order id. */
export const belongsToLink = (): HubError => new HubError("order_mismatch", "The order id belongs to a payment link");

/**
 * The reason why an order takes no further attempt. Undefined if it takes one, because it has changed meanwhile. `hasOtherItems`:
 * the draft's items are not those of the order. `hasOtherLink`: the order belongs to another payment link, or to none.
 */
export function conflictOf(
  order: StatusEvent,
  draft: PaymentDraft,
  { hasOtherItems, hasOtherLink }: { hasOtherItems: boolean; hasOtherLink: boolean },
): HubError | undefined {
  // Without the order, which the payer of a link must not see.
  if (hasOtherLink) return draft.link ? new HubError("order_mismatch") : belongsToLink();
  const differing = [
    ...(BigInt(order.amountMinor) === draft.amountMinor ? [] : ["another amount"]),
    ...(order.currency === draft.currency ? [] : ["another currency"]),
    ...(hasOtherItems ? ["other items"] : []),
  ];
  if (differing.length > 0) {
    const detail = `The order was opened with ${differing.join(" and ").replace("and another", "and")}`;
    return new HubError("order_mismatch", detail, { order });
  }
  if (order.status === "succeeded") return new HubError("order_paid", undefined, { order });
  if (order.status === "review") return new HubError("order_in_review", undefined, { order });
  return order.settled ? undefined : new HubError("payment_in_progress", undefined, { order });
}
