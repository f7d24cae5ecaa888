/**
 * Reads Safaricom's messages: the webhook, and the replies to push and query. Pure. Decides by codes, and by texts only
 * where one code has several meanings.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { readMoney } from "../money.ts";
import { identifier, mpesaFailures, readResultCode, resultCode, stillOpen } from "../mpesa.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { providerText } from "../provider-text.ts";
import { apigeeCodeOf, isApigeeLimit, isRefused, isThrottled, requireAnswer, Throttled } from "../refusal.ts";

/** The gateway's error format (Safaricom portal, "Error Codes"). */
const envelope = z.object({ errorCode: z.string(), errorMessage: z.string().catch("") });
type Envelope = z.infer<typeof envelope>;

/**
 * Refusals of a push with HTTP 500: an exhausted quota, and some meanings of 500.001.1001, which only its text
 * distinguishes (Safaricom portal, "Error Codes"). After any other error from 500, such as 500.003.02 (system busy), the
 * payer may have a prompt.
 */
const refusalCodes: ReadonlySet<string> = new Set(["500.003.03"]);
const refusalTexts = /unable to lock subscriber|merchant does not exist|wrong credentials|no apiproduct match/i;

/**
 * The access token is unknown or expired. The Safaricom portal documents 404.001.03, with HTTP 404; integrators report
 * 400.003.01 and codes that begin with 401.
 */
const tokenRefusal = /^(404\.001\.03|400\.003\.01|401\..*)$/;

/** The same in Apigee's error format (docs.apigee.com, "OAuth v2.0 policies"). */
const apigeeTokenRefusal = /access_?token/i;

/** With HTTP 200, a `ResponseCode` other than "0" refuses the push (reported by integrators). */
const acceptance = z.object({
  ResponseCode: resultCode.transform((code) => code.trim()),
  ResponseDescription: z.string().catch(""),
  CheckoutRequestID: identifier.optional().catch(undefined),
});

const queryReply = z.object({
  ResponseCode: resultCode.pipe(z.literal("0")).optional(),
  CheckoutRequestID: z.string().optional(),
  ResultCode: resultCode,
});

/** Items vary in number and order, and Balance has no value: an unreadable item must not hide the others. */
const item = z.object({ Name: z.string(), Value: z.unknown().optional() }).catch({ Name: "", Value: undefined });

const webhookBody = z.object({
  Body: z.object({
    stkCallback: z.object({
      CheckoutRequestID: identifier.optional(),
      ResultCode: resultCode,
      CallbackMetadata: z
        .object({ Item: z.array(item) })
        .optional()
        .catch(undefined),
    }),
  }),
});
type StkCallback = z.infer<typeof webhookBody>["Body"]["stkCallback"];

/** Whether Safaricom refused the access token, so that the request had no effect. */
export function isTokenRefused({ status, body }: Answer): boolean {
  const refusal = envelope.safeParse(body).data;
  if (refusal) return tokenRefusal.test(refusal.errorCode);
  return status === 401 && apigeeTokenRefusal.test(apigeeCodeOf(body) ?? "");
}

/** Returns for an accepted push, throws `Declined` for a certain refusal. Any other error means unknown. */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const reply = acceptance.safeParse(body).data;
  if (reply?.ResponseCode === "0" && reply.CheckoutRequestID !== undefined)
    return { reference: reply.CheckoutRequestID };
  if (status === 200 && reply && /^0*[1-9]\d*$/.test(reply.ResponseCode)) {
    throw declined(reply.ResponseDescription, `ResponseCode ${reply.ResponseCode}`, answer);
  }
  const refusal = envelope.safeParse(body).data;
  const fault = apigeeCodeOf(body);
  const isOwnError = refusal !== undefined || fault !== undefined;
  if (isRefused(answer, isOwnError) || isApigeeLimit(body) || (refusal && status <= 500 && isRefusalWith500(refusal))) {
    throw declined(refusal?.errorMessage ?? "", refusal?.errorCode ?? fault ?? "no code", answer);
  }
  throw new Error(`Safaricom neither accepted nor refused the push (HTTP ${status})`);
}

const isRefusalWith500 = ({ errorCode, errorMessage }: Envelope): boolean =>
  refusalCodes.has(errorCode) || refusalTexts.test(errorMessage);

/**
 * The reason is `busy` if the payer's phone has another prompt. The message has Safaricom's own text, because one code has several
 * meanings: a wrong short code and a wrong passkey are both 500.001.1001.
 */
function declined(text: string, code: string, { status, body, sent }: Answer): Declined {
  const reason: Reason = /unable to lock subscriber/i.test(text) ? "busy" : "provider_error";
  return new Declined(
    reason,
    `Safaricom refused the push: ${code} (HTTP ${status}) ${providerText(body, sent)}`.trim(),
  );
}

/**
 * The secret in the URL is the only proof. Throws `HubError` `webhook_rejected` without it, and `webhook_unreadable` for a
 * body that is not an `stkCallback`.
 */
export function translate({ paymentId, body }: Webhook): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const { CheckoutRequestID, ...callback } = readCallback(body);
  const known = CheckoutRequestID === undefined ? {} : { reference: CheckoutRequestID };
  const outcome = outcomeOf(callback);
  return { paymentId, ...known, proof: "secret", ...(outcome && { outcome: { ...outcome, ...known } }) };
}

function readCallback(body: Buffer): StkCallback {
  try {
    return webhookBody.parse(parseJson(body.toString())).Body.stkCallback;
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

function outcomeOf({ ResultCode, CallbackMetadata }: Omit<StkCallback, "CheckoutRequestID">): Outcome | undefined {
  const result = readResultCode(ResultCode);
  if (result === "succeeded") return { status: result, ...paid(CallbackMetadata?.Item ?? []), source: "webhook" };
  return result && { ...result, source: "webhook" };
}

function paid(items: readonly z.infer<typeof item>[]): Omit<Outcome, "status" | "source"> {
  const stated = (name: string): unknown =>
    items.find(({ Name, Value }) => Name === name && Value !== undefined)?.Value;
  const receipt = identifier.safeParse(stated("MpesaReceiptNumber")).data;
  return { ...(receipt !== undefined && { receipt }), ...readMoney(stated("Amount"), undefined, "KES") };
}

/**
 * Reads the answer to a query; undefined without evidence. An error is never evidence, because the gateway also returns
 * errors for payments whose end it has reported (integrators). Throws `Throttled`, or `HubError` `provider_unavailable` if
 * Safaricom did not answer the query.
 */
export function readQuery(answer: Answer, reference: string): Outcome | undefined {
  const error = envelope.safeParse(answer.body).data;
  if (isThrottled(answer) || (error && isSpikeArrest(error))) throw new Throttled("Safaricom", answer);
  if (error && (answer.status >= 500 || isPending(error))) {
    return isPending(error) ? { status: "processing", source: "query" } : undefined;
  }
  const body = requireAnswer("Safaricom", answer);
  const reply = error ? undefined : queryReply.safeParse(body).data;
  if (answer.status !== 200 || !reply || (reply.CheckoutRequestID ?? reference) !== reference) return undefined;
  if (reply.ResultCode === "0") return { status: "succeeded", source: "query" };
  if (reply.ResultCode === stillOpen) return { status: "processing", source: "query" };
  const result = mpesaFailures.get(reply.ResultCode);
  return result && { ...result, source: "query" };
}

/** Comes with HTTP 500 (Safaricom portal, "Error Codes"). */
const isSpikeArrest = ({ errorCode, errorMessage }: Envelope): boolean =>
  errorCode === "500.003.03" || /spike arrest/i.test(errorMessage);

const isPending = ({ errorCode, errorMessage }: Envelope): boolean =>
  errorCode === "500.001.1001" && /being processed/i.test(errorMessage);
