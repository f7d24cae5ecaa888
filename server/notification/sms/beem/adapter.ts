/**
 * Beem (Tanzania and others), formerly Bongo Live.
 *
 * Sources: beemafrica/beem-sms-api-sample, send/php/send.php and callback/node-js/receive.js; the codes are those of
 * docs.beem.africa, "SMS", also in gowelle/laravel-beem-africa, src/Enums/SmsResponseCode.php. Code 110 refuses characters outside
 * the GSM alphabet, and 118 every encoding but 0.
 */
import { z } from "zod";
import { HubError } from "../../../errors.ts";
import { parseJson } from "../../../json.ts";
import type { Answer, Client } from "../../../provider/http-client.ts";
import { probe } from "../../../provider/probe.ts";
import { type DeliveryReport, type ReportRequest, type SendResult, type SmsGateway, sendBy } from "../gateway.ts";

export interface BeemOptions {
  /** Without a slash at the end. Called for each request, because a sandbox has no address before the server listens. */
  baseUrl: () => string;
  apiKey: string;
  secretKey: string;
  /** The registered sender. */
  from: string;
  client: Client;
}

export function createBeem({ baseUrl, apiKey, secretKey, from, client }: BeemOptions): SmsGateway {
  const authorization = `Basic ${Buffer.from(`${apiKey}:${secretKey}`).toString("base64")}`;
  return {
    name: "beem",
    isGsmOnly: true,
    send: ({ to, text }, signal) =>
      sendBy(
        client,
        {
          method: "POST",
          url: `${baseUrl()}/v1/send`,
          headers: { authorization },
          body: {
            source_addr: from,
            encoding: 0,
            schedule_time: "",
            message: text,
            recipients: [{ recipient_id: 1, dest_addr: to.replace("+", "") }],
          },
          signal,
        },
        readAnswer,
      ),
    // beemafrica/beem-sms-api-sample, userAccountBalance/php/balance.php.
    async probe(signal) {
      const url = `${baseUrl()}/public/v1/vendors/balance`;
      const found = await probe(client, { method: "GET", url, headers: { authorization }, signal });
      const { credit_balance: parts } = balanceBody.safeParse(found.body).data?.data ?? {};
      return { ...found, balance: parts === undefined ? undefined : `${parts} SMS` };
    },
  };
}

const balanceBody = z.object({ data: z.object({ credit_balance: z.coerce.number() }) });

const stated = z.object({
  code: z.coerce.number().int(),
  message: z.string().catch(""),
  request_id: z
    .union([z.number(), z.string().min(1).max(128)])
    .transform(String)
    .optional(),
  valid: z.number().int().optional().catch(undefined),
});

/** Errors of Beem's gateway have the same fields in `data`. */
const answerBody = z.union([stated, z.object({ data: stated }).transform(({ data }) => data)]);

const submitted = 100;

/** "Network timeout": the text may have been sent. */
const timedOut = 103;

/** Invalid phone number, invalid message, characters outside the GSM alphabet, missing number. */
const permanent: ReadonlySet<number> = new Set([101, 109, 110, 115]);

/** The first and the last code of a refusal. */
const refusals = { from: 101, to: 120 };

/** Undefined if the answer does not say what happened. */
function readAnswer({ body }: Answer): SendResult | undefined {
  const found = answerBody.safeParse(body).data;
  if (!found) return undefined;
  const { code, request_id: reference, valid = 1 } = found;
  if (code === submitted) {
    if (valid >= 1) return { status: "sent", reference };
    return { status: "refused", reason: "invalid phone number (100)", isPermanent: true };
  }
  const reason = `code ${code}${meanings[code] ? `: ${meanings[code]}` : ""}`;
  const isRefusal = code !== timedOut && code >= refusals.from && code <= refusals.to && reference === undefined;
  if (!isRefusal) return { status: "unknown", reason };
  return { status: "refused", reason, isPermanent: permanent.has(code) };
}

/** The codes that an operator can do something about. */
const meanings: Readonly<Record<number, string>> = {
  101: "invalid phone number",
  102: "insufficient balance",
  103: "network timeout",
  105: "account not found",
  106: "no route",
  108: "invalid token",
  110: "special characters",
  111: "invalid sender ID",
  116: "missing or invalid reference",
  120: "invalid authentication",
};

const reportFields = z.object({
  request_id: z.union([z.number(), z.string().min(1).max(128)]).transform(String),
  // `Status` in Beem's sample.
  Status: z.string().max(64).optional(),
  status: z.string().max(64).optional(),
});

const finalStatuses: Readonly<Record<string, DeliveryReport["status"]>> = {
  DELIVERED: "delivered",
  FAILED: "failed",
  UNDELIVERED: "failed",
  REJECTED: "failed",
  EXPIRED: "failed",
};

/** JSON with `request_id`, `recipient_id`, `dest_addr` and `Status`. */
export function readBeemReport({ contentType, body }: ReportRequest): DeliveryReport {
  try {
    const isForm = /^application\/x-www-form-urlencoded\b/i.test(contentType);
    const given: unknown = isForm ? Object.fromEntries(new URLSearchParams(body)) : parseJson(body);
    const { request_id: reference, Status, status = Status } = reportFields.parse(given);
    return { of: { reference }, status: finalStatuses[status?.toUpperCase() ?? ""] };
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}
