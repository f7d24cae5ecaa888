/**
 * What Safaricom's messages mean: the webhook, and the replies to push and query. Pure, and goes by codes; texts only
 * where one code has several meanings.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { readMoney } from "../money.ts";
import { decide, identifier, mpesaFailures, resultCode, stillOpen } from "../mpesa.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { apigeeCodeOf, isApigeeLimit, isRefused, isThrottled, requireAnswer, Throttled } from "../refusal.ts";

/** The gateway's own form of an error (Safaricom portal, "Error Codes"). */
const envelope = z.object({ errorCode: z.string(), errorMessage: z.string().catch("") });
type Envelope = z.infer<typeof envelope>;

/**
 * Refusals of a push that come with HTTP 500: the quota is used up, and three meanings of 500.001.1001, which are told
 * apart by their texts. Other errors from 500 leave open whether a prompt is out, 500.003.02 (system busy) among them.
 */
const refusalCodes: ReadonlySet<string> = new Set(["500.003.03"]);
const refusalTexts = /unable to lock subscriber|merchant does not exist|wrong credentials|no apiproduct match/i;

/**
 * The access token is unknown or has ended. Safaricom portal: 404.001.03, with HTTP 404; 400.003.01 and those that begin
 * with 401 are reported by integrators.
 */
const tokenRefusal = /^(404\.001\.03|400\.003\.01|401\..*)$/;

/** Apigee's words for the same (docs.apigee.com, "OAuth v2.0 policies"). */
const apigeeTokenRefusal = /access_?token/i;

/** `ResponseCode` other than "0" under HTTP 200 refuses the push (integrators). */
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

/** Items vary in number and order, and Balance comes without a value: one odd item must not hide the others. */
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

/** Whether the answer says that the access token is not valid (any more): whatever was asked has surely not happened. */
export function isTokenRefused({ status, body }: Answer): boolean {
  const refusal = envelope.safeParse(body).data;
  if (refusal) return tokenRefusal.test(refusal.errorCode);
  return status === 401 && apigeeTokenRefusal.test(apigeeCodeOf(body) ?? "");
}

/** Accepted, surely refused (`Declined`), or unknown: any other error. */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const said = acceptance.safeParse(body).data;
  if (said?.ResponseCode === "0" && said.CheckoutRequestID !== undefined) return { reference: said.CheckoutRequestID };
  if (status === 200 && said && /^0*[1-9]\d*$/.test(said.ResponseCode)) {
    throw declined(said.ResponseDescription, `ResponseCode ${said.ResponseCode}`, status);
  }
  const refusal = envelope.safeParse(body).data;
  const fault = apigeeCodeOf(body);
  const isOwnError = refusal !== undefined || fault !== undefined;
  if (isRefused(answer, isOwnError) || isApigeeLimit(body) || (refusal && status <= 500 && isException(refusal))) {
    throw declined(refusal?.errorMessage ?? "", refusal?.errorCode ?? fault ?? "turned away", status);
  }
  throw new Error(`Safaricom's answer to the push tells nothing (HTTP ${status})`);
}

const isException = ({ errorCode, errorMessage }: Envelope): boolean =>
  refusalCodes.has(errorCode) || refusalTexts.test(errorMessage);

/** `busy` when the payer's phone has another prompt open. */
function declined(text: string, code: string, status: number): Declined {
  const reason: Reason = /unable to lock subscriber/i.test(text) ? "busy" : "provider_error";
  return new Declined(reason, `Safaricom refused the push: ${code} (HTTP ${status})`);
}

/**
 * The URL's secret is the only proof there is. Throws `HubError`: `webhook_rejected` without it, `webhook_unreadable`
 * for anything but an stkCallback.
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
  const decided = decide(ResultCode);
  if (decided === "succeeded") return { status: decided, ...paid(CallbackMetadata?.Item ?? []), source: "webhook" };
  return decided && { ...decided, source: "webhook" };
}

function paid(items: readonly z.infer<typeof item>[]): Omit<Outcome, "status" | "source"> {
  const stated = (name: string): unknown =>
    items.find(({ Name, Value }) => Name === name && Value !== undefined)?.Value;
  const receipt = identifier.safeParse(stated("MpesaReceiptNumber")).data;
  return { ...(receipt !== undefined && { receipt }), ...readMoney(stated("Amount"), undefined, "KES") };
}

/**
 * An error envelope is never a final answer: the gateway gives them even for payments it reported as decided. Throws
 * `Throttled`, or `HubError` `provider_unavailable` when Safaricom did not answer the question.
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

/** Both come with HTTP 500 (Safaricom portal, "Error Codes"). */
const isSpikeArrest = ({ errorCode, errorMessage }: Envelope): boolean =>
  errorCode === "500.003.03" || /spike arrest/i.test(errorMessage);

const isPending = ({ errorCode, errorMessage }: Envelope): boolean =>
  errorCode === "500.001.1001" && /being processed/i.test(errorMessage);
