/**
 * What ZenoPay's messages mean: the webhook, and the replies to request and query. Pure. Whether money moved is said by
 * an order's own `payment_status` alone: `status`, `result` and `resultcode` beside it only say that a call was
 * understood, SUCCESS included. Sources are the repositories that ZenoPay publishes at GitHub.
 */
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { isStated, readMoney } from "../money.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { hasErrorText, isRefused, requireAnswer } from "../refusal.ts";

/** `success` here and `SUCCESS` there, in ZenoPay's own samples. */
const word = z.string().transform((text) => text.trim().toUpperCase());

/** Visible ASCII, as the ids that we choose are: anything else could not be ours, nor be stored safely. */
const identifier = z.string().regex(/^[\x21-\x7e]{1,128}$/);

/**
 * The operator's receipt, or ZenoPay's own number. Whether one that is missing is left out, empty or a word is not
 * known, and two payments with the same word would look like one receipt used twice: so shorter ones do not count.
 */
const receiptNumber = z
  .union([z.string(), z.number().int().transform(String)])
  .pipe(z.string().regex(/^[\x21-\x7e]{6,128}$/));

/** "000" in every sample; a number would have lost its zeros. What other codes mean is not documented. */
const resultCode = z.union([z.string(), z.number()]).transform((code) => /^0+$/.test(String(code)));

/** An integrator reads `result` in place of `status` in the reply to a request, as the query has it. */
const reply = z
  .object({
    status: word.nullish(),
    result: word.nullish(),
    resultcode: resultCode.nullish(),
    order_id: z.string().nullish(),
  })
  .transform(({ result, ...said }) => ({ ...said, status: said.status ?? result }));

/**
 * Accepted, surely refused (`Declined`), or unknown: anything else. In official sample code an error's `status` is "error"
 * and its HTTP status "usually" not 200; one under HTTP 200 or from 500 leaves open whether a prompt is out.
 */
export function readAcceptance(answer: Answer, orderId: string): Initiated {
  const { status, body } = answer;
  const said = reply.safeParse(body).data;
  const isAccepted = said?.status === "SUCCESS" && (said.resultcode ?? true) && (said.order_id ?? orderId) === orderId;
  if (status === 200 && isAccepted) return { reference: orderId };
  // What is answered to an `order_id` that was used before is not known: it would say that the first request did arrive.
  if (said?.status !== "SUCCESS" && isRefused(answer, said?.status === "ERROR" || hasErrorText(body))) {
    throw new Declined("provider_error", `ZenoPay refused the payment (HTTP ${status})`);
  }
  throw new Error(`ZenoPay's answer to the request tells nothing (HTTP ${status})`);
}

const named = z.object({ order_id: identifier.optional(), payment_status: word });

/** Flat for payments; within `data` in what is documented for transfers between wallets. */
const webhookBody = z.union([named, z.object({ data: named }).transform(({ data }) => data)]);

/**
 * Proof takes the URL's secret and our own API key, which ZenoPay sends back to us. Some integrators report that header
 * missing, so without it the webhook only makes us ask; so does one of another order, or of anything but COMPLETED, for
 * which no webhook is documented. None states an amount. Throws `HubError`: `webhook_rejected` without the URL's secret,
 * `webhook_unreadable` for anything but a webhook.
 */
export function translate({ paymentId, headers, body }: Webhook, apiKey: string): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const key = headers["x-api-key"];
  const isSigned = isSame(typeof key === "string" ? key : "", apiKey);
  const { order_id: reference = paymentId, payment_status: status } = readWebhook(body);
  if (!isSigned || reference !== paymentId || status !== "COMPLETED") return { paymentId, reference, proof: "none" };
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
 * How an order ended without money. ZenoPay's repositories name FAILED for transfers between wallets; that orders have
 * it too, and CANCELLED, is unverified. No reason is ever given beside them.
 */
const endings: ReadonlyMap<string, Reason> = new Map([
  ["FAILED", "declined"],
  ["CANCELLED", "cancelled"],
  ["CANCELED", "cancelled"],
]);

/**
 * What the answer says of this order; undefined when nothing, as of an order that ZenoPay does not know (yet). Throws
 * `Throttled`, or `HubError` `provider_unavailable` when ZenoPay did not answer the question.
 */
export function readQuery(answer: Answer, orderId: string): Outcome | undefined {
  const body = requireAnswer("ZenoPay", answer);
  const said = lookup.safeParse(body).data;
  if (answer.status !== 200 || !said || said.resultcode === false) return undefined;
  const rows = rowsOf(said.data ?? body).filter((one) => one.order_id === orderId);
  // One row in every sample. Of several, a payment counts; how they end otherwise cannot be told.
  const found = rows.find(isPaid) ?? (rows.length === 1 ? rows[0] : undefined);
  const end = found && endOf(found);
  // Said with the reference, which is not stored yet when the reply to the request was lost.
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

/** The amount is in shillings, as text. Without one it proves nothing, and asking again at once would not help. */
function paid({ amount, transid, reference }: Row): End | undefined {
  if (!isStated(amount)) return undefined;
  const receipt = transid ?? reference;
  return { status: "succeeded", ...(receipt !== undefined && { receipt }), ...readMoney(amount, undefined, "TZS") };
}
