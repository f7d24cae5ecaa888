/**
 * Africa's Talking (Kenya, Uganda, Tanzania, Rwanda, Nigeria and others).
 *
 * Sources: developers.africastalking.com, "Bulk SMS" and "Delivery reports"; AfricasTalkingLtd/africastalking-node.js, lib/sms.js;
 * the codes also in medic/cht-core, api/src/services/africas-talking.js. HTTP 201 says nothing: each recipient has its own status.
 */
import { z } from "zod";
import { HubError } from "../../../errors.ts";
import type { Answer, Client } from "../../../provider/http-client.ts";
import { probe } from "../../../provider/probe.ts";
import { type DeliveryReport, type ReportRequest, type SendResult, type SmsGateway, sendBy } from "../gateway.ts";

export interface AfricasTalkingOptions {
  /** Without a slash at the end. Called for each request, because a sandbox has no address before the server listens. */
  baseUrl: () => string;
  username: string;
  apiKey: string;
  /** The registered sender. Absent: the gateway's default. */
  from?: string | undefined;
  client: Client;
}

export function createAfricasTalking(options: AfricasTalkingOptions): SmsGateway {
  const { baseUrl, username, apiKey, from, client } = options;
  return {
    name: "africastalking",
    isGsmOnly: false,
    send: ({ to, text }, signal) =>
      sendBy(
        client,
        {
          method: "POST",
          url: `${baseUrl()}/version1/messaging`,
          // Without `Accept` the answer is XML.
          headers: { apiKey, accept: "application/json" },
          // As the official clients send it.
          form: { username, to, message: text, bulkSMSMode: "1", ...(from !== undefined && { from }) },
          signal,
        },
        readAnswer,
      ),
    // developers.africastalking.com, "Application data"; lib/application.js of the official client.
    async probe(signal) {
      const url = `${baseUrl()}/version1/user?${new URLSearchParams({ username })}`;
      const found = await probe(client, {
        method: "GET",
        url,
        headers: { apiKey, accept: "application/json" },
        signal,
      });
      return { ...found, balance: balanceBody.safeParse(found.body).data?.UserData.balance };
    },
  };
}

/** Such as `KES 1250.0000`. */
const balanceBody = z.object({ UserData: z.object({ balance: z.string().regex(/^[A-Z]{3} -?[\d.]{1,20}$/) }) });

const answerBody = z.object({
  SMSMessageData: z.object({
    Message: z.string().catch(""),
    Recipients: z.array(
      z.object({
        statusCode: z.coerce.number().int(),
        status: z.string().catch(""),
        messageId: z.string().optional(),
        messageParts: z.number().int().positive().optional().catch(undefined),
      }),
    ),
  }),
});

/** Processed, Sent, Queued. */
const accepted: ReadonlySet<number> = new Set([100, 101, 102]);

/** InvalidPhoneNumber, UnsupportedNumberType, UserInBlacklist, CouldNotRoute, DoNotDisturbRejection. */
const permanent: ReadonlySet<number> = new Set([403, 404, 406, 407, 409]);

/** InvalidSenderId, InsufficientBalance, RejectedByGateway. Not RiskHold (401), whose text may be sent later, and no failure of the gateway (500, 501). */
const temporary: ReadonlySet<number> = new Set([402, 405, 502]);

/** A refused text has the id "None" in every recorded answer. One with an id was stored. */
const isStored = (messageId = "None"): boolean => messageId !== "None" && messageId !== "";

/** Undefined if the answer does not say what happened. */
function readAnswer({ status, body }: Answer): SendResult | undefined {
  if (status < 200 || status > 299) return undefined;
  const data = answerBody.safeParse(body).data?.SMSMessageData;
  if (!data) return undefined;
  const [recipient, ...others] = data.Recipients;
  // Such as InvalidSenderId (recorded): no recipient was taken.
  if (!recipient) return { status: "refused", reason: nameOf(data.Message), isPermanent: false };
  const { statusCode, messageId, messageParts } = recipient;
  const reason = `${nameOf(recipient.status)} (${statusCode})`;
  if (accepted.has(statusCode) && others.length === 0) {
    return { status: "sent", reference: isStored(messageId) ? messageId : undefined, parts: messageParts };
  }
  if (isStored(messageId) || others.length > 0) return { status: "unknown", reason };
  if (permanent.has(statusCode)) return { status: "refused", reason, isPermanent: true };
  if (temporary.has(statusCode)) return { status: "refused", reason, isPermanent: false };
  return { status: "unknown", reason };
}

/** The name of a status, such as `InvalidSenderId`; other text may have a phone number. */
const nameOf = (text: string): string => (/^[A-Za-z]{1,64}$/.test(text) ? text : "refused");

const reportFields = z.object({ id: z.string().min(1).max(128), status: z.string().max(64) });

/** Sent, Submitted and Buffered are not final. */
const finalStatuses: Readonly<Record<string, DeliveryReport["status"]>> = {
  Success: "delivered",
  Failed: "failed",
  Rejected: "failed",
};

/** A form with `id`, `status`, `phoneNumber`, `networkCode` and, after a failure, `failureReason`. */
export function readAfricasTalkingReport({ body }: ReportRequest): DeliveryReport {
  const fields = reportFields.safeParse(Object.fromEntries(new URLSearchParams(body)));
  if (!fields.success) throw new HubError("webhook_unreadable", undefined, { cause: fields.error });
  const { id, status } = fields.data;
  return { of: { reference: id }, status: finalStatuses[status] };
}
