/**
 * Reads ZenoPay's messages: the webhook, and the replies to request and query. Pure. Only the order's `payment_status`
 * states whether it was paid. `status`, `result` and `resultcode` are about the call, even if they are SUCCESS.
 *
 * Sources: ZenoPay's repositories on GitHub (zenopay-php, ZenoPay-Python, ZenoPay-Node.js,
 * Zenopay-Payment-Webhook-Integration-Guide).
 */
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { isStated, readMoney } from "../money.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { providerText } from "../provider-text.ts";
import { hasErrorText, isRefused, requireAnswer } from "../refusal.ts";

/** ZenoPay's samples have both `success` and `SUCCESS`. */
const word = z.string().transform((text) => text.trim().toUpperCase());

/** Visible ASCII, like the ids that we choose. Other text is not one of them, and not safe to store. */
const identifier = z.string().regex(/^[\x21-\x7e]{1,128}$/);

/**
 * The operator's receipt, or ZenoPay's number. At least 6 characters, because the form of a missing one is not known: a
 * placeholder word in two payments would look like a reused receipt.
 */
const receiptNumber = z
  .union([z.string(), z.number().int().transform(String)])
  .pipe(z.string().regex(/^[\x21-\x7e]{6,128}$/));

/** "000" in every sample; a number would lack the zeros. Other codes are not documented. */
const resultCode = z.union([z.string(), z.number()]).transform((code) => /^0+$/.test(String(code)));

/** An integrator reports `result` in place of `status` in the reply to a request. */
const reply = z
  .object({
    status: word.nullish(),
    result: word.nullish(),
    resultcode: resultCode.nullish(),
    order_id: z.string().nullish(),
  })
  .transform(({ result, ...rest }) => ({ ...rest, status: rest.status ?? result }));

/**
 * Returns for an accepted request, throws `Declined` for a certain refusal. Any other error means unknown. In ZenoPay's
 * sample code an error has the `status` "error" and usually not HTTP 200. After an error with HTTP 200 or from 500, the payer
 * may have a prompt.
 */
export function readAcceptance(answer: Answer, orderId: string): Initiated {
  const { status, body } = answer;
  const stated = reply.safeParse(body).data;
  const isAccepted =
    stated?.status === "SUCCESS" && (stated.resultcode ?? true) && (stated.order_id ?? orderId) === orderId;
  if (status === 200 && isAccepted) return { reference: orderId };
  // The answer to a repeated `order_id` is not known. `isRefused` reads "duplicate" and "already" as unknown.
  if (stated?.status !== "SUCCESS" && isRefused(answer, stated?.status === "ERROR" || hasErrorText(body))) {
    throw new Declined(
      "provider_error",
      `ZenoPay refused the payment (HTTP ${status}) ${providerText(body, answer.sent)}`.trim(),
    );
  }
  throw new Error(`ZenoPay neither accepted nor refused the payment (HTTP ${status})`);
}

const named = z.object({ order_id: identifier.optional(), payment_status: word });

/** Flat for payments; in `data` in ZenoPay's sample for transfers between wallets. */
const webhookBody = z.union([named, z.object({ data: named }).transform(({ data }) => data)]);

/**
 * The proof is the URL's secret together with one of the merchant's API keys, which ZenoPay returns in a header (official). Some
 * integrators report that the header is missing: the webhook then proves nothing and only causes a query. So does a webhook
 * about another order, or with another status than COMPLETED, for which no webhook is documented. No webhook states the
 * amount. Throws `HubError` `webhook_rejected` without the URL's secret, and `webhook_unreadable` for another body.
 */
export function translate({ paymentId, headers, body }: Webhook, apiKeys: readonly string[]): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const given = headers["x-api-key"];
  const hasKey = typeof given === "string" && apiKeys.some((key) => isSame(given, key));
  const { order_id: reference = paymentId, payment_status: status } = readWebhook(body);
  if (!hasKey || reference !== paymentId || status !== "COMPLETED") return { paymentId, reference, proof: "none" };
  return { paymentId, reference, proof: "secret", outcome: { status: "succeeded", reference, source: "webhook" } };
}

function readWebhook(body: Buffer): z.infer<typeof named> {
  try {
    return webhookBody.parse(parseJson(body.toString()));
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

const lookup = z.object({ resultcode: resultCode.nullish(), data: z.unknown().optional() });

const row = z.object({
  order_id: z.string(),
  payment_status: word,
  amount: z.unknown().optional(),
  transid: receiptNumber.optional().catch(undefined),
  reference: receiptNumber.optional().catch(undefined),
});
type Row = z.infer<typeof row>;

/**
 * The reason of an order that ended without money. ZenoPay's repositories have FAILED for transfers between wallets; that
 * orders have it too, and CANCELLED, is unverified. The reply has no other reason.
 */
const endings: ReadonlyMap<string, Reason> = new Map([
  ["FAILED", "declined"],
  ["CANCELLED", "cancelled"],
  ["CANCELED", "cancelled"],
]);

/**
 * Reads the answer to a query about this order; undefined without evidence, for example for an order that ZenoPay does not
 * know yet. Throws `Throttled`, or `HubError` `provider_unavailable` if ZenoPay did not answer the query.
 */
export function readQuery(answer: Answer, orderId: string): Outcome | undefined {
  const body = requireAnswer("ZenoPay", answer);
  const reply = lookup.safeParse(body).data;
  if (answer.status !== 200 || !reply || reply.resultcode === false) return undefined;
  const rows = rowsOf(reply.data ?? body).filter((one) => one.order_id === orderId);
  // Every sample has one row. If there are several, only a paid one is evidence.
  const found = rows.find(isPaid) ?? (rows.length === 1 ? rows[0] : undefined);
  const end = found && endOf(found);
  // With the reference, because it is not stored if the reply to the request was lost.
  return end && { ...end, reference: orderId, source: "query" };
}

const rowsOf = (data: unknown): Row[] =>
  (Array.isArray(data) ? data : [data]).flatMap((one) => row.safeParse(one).data ?? []);

const isPaid = (one: Row): boolean => one.payment_status === "COMPLETED";

type End = Omit<Outcome, "source" | "reference">;

function endOf(found: Row): End | undefined {
  if (isPaid(found)) return paid(found);
  if (found.payment_status === "PENDING") return { status: "processing" };
  const reason = endings.get(found.payment_status);
  return reason && { status: "failed", reason };
}

/** The amount is in shillings, as text. A success without an amount is not evidence. */
function paid({ amount, transid, reference }: Row): End | undefined {
  if (!isStated(amount)) return undefined;
  const receipt = transid ?? reference;
  return { status: "succeeded", ...(receipt !== undefined && { receipt }), ...readMoney(amount, undefined, "TZS") };
}
