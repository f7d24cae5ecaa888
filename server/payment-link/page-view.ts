/** The view of the checkout page. The routes make it, and `page/` renders it. Neither knows more about the other. */
import type { Item, Language, StatusEvent } from "../order/order.ts";
import type { ShopView } from "../page/shop.ts";

export interface PaymentLinkView {
  description?: string;
  items?: readonly Item[];
  currency: string;
  /** Absent if the payer enters the amount, within `minMinor` and `maxMinor`. */
  amountMinor?: number;
  minMinor?: number;
  maxMinor?: number;
  status: "open" | "paid" | "cancelled" | "expired";
  /** ISO 8601 UTC. */
  expiresAt?: string;
  isReusable: boolean;
  /** Which instalment of a plan it is; with `to`: which ones it covers. `count`: of how many; absent if the plan has no end. */
  part?: { n: number; to?: number; count?: number };
}

/** A provider that the payer may choose. The first one is selected, unless another `isSelected`. */
export interface ProviderChoice {
  name: string;
  /** It prompts a phone. Otherwise the payer continues on the provider's own page. */
  takesPhone: boolean;
  isSelected?: boolean;
  /** Whether it moves no money. */
  isSandbox?: boolean;
  /** The calling code of its country, such as `254`, and the first digits of its operator's numbers after that code. */
  callingCode?: string;
  prefixes?: readonly string[];
  /** The amounts that it takes: multiples of `stepMinor`. */
  takes?: { minMinor: number; maxMinor: number; stepMinor: number };
}

/** Why a payment was not started. Shown at the field, or above the form without one. */
export interface Fault {
  field?: "phone" | "amount" | "provider";
  /** A code of `errors.ts`. */
  code: string;
  retryAfterS?: number;
  /** The values that the payer entered, as they were sent. */
  values: { provider?: string; phone?: string; amount?: string; key?: string };
}

export interface CheckoutView {
  shop: ShopView;
  lang: Language;
  paymentLink: PaymentLinkView;
  /** In the order in which they are offered. */
  providers: readonly ProviderChoice[];
  /** The order that this browser may see: that of the link, or for a reusable link the one that this browser opened. */
  order?: StatusEvent;
  /** The watch token of `order`, for `<order-status>`. Absent without an order, and for a browser that did not start the payment. */
  watch?: { orderId: string; token: string };
  /** The masked number that this browser entered. */
  maskedPhone?: string;
  /** A prompt can be started now: the link is open, no attempt is in progress, and the order is not final. */
  canPay: boolean;
  fault?: Fault;
  /** The path of the form's action and of this page, with its query if it has one. */
  actionPath: string;
  /** The payer wants to pay again with a reusable link. */
  isAgain?: boolean;
  /** For a reusable link: the path of this page for another payment. Shown once `order` is paid. */
  againPath?: string;
  /** The page of the link's plan, relative to this page. */
  planPath?: string;
  /** The interval at which an open order's page reloads in a browser without scripts. */
  refreshS?: number;
  /** The merchant's page. */
  returnUrl?: string;
  receiptOrderId?: string;
  /** Allows the page's styles in its Content Security Policy. Of one answer. */
  nonce: string;
  /** Of all forms that the page shows until another payment starts: the payer's payments by them are one. */
  formKey?: string;
}

/** The view of the page to print for a counter. */
export interface PrintView {
  shop: ShopView;
  lang: Language;
  /** The address that the QR code contains. */
  url: string;
  amountText?: string;
  description?: string;
  nonce: string;
}
