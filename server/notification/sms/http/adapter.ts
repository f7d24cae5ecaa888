/**
 * Any other gateway, by a small program of the merchant's that speaks this protocol of Tukio (docs/notifications.md):
 * `POST SMS_URL { id, to, text, from? }` with `Authorization: Bearer SMS_API_KEY`, answered with `{ accepted: true, id?, parts? }` or
 * `{ accepted: false, error?, permanent? }`, whatever the HTTP status. A delivery report is `{ id, status: "delivered" | "failed" }`,
 * with the id of the request.
 */
import { z } from "zod";
import { HubError } from "../../../errors.ts";
import { parseJson } from "../../../json.ts";
import type { Answer, Client } from "../../../provider/http-client.ts";
import type { DeliveryReport, ReportRequest, SendResult, SmsGateway } from "../gateway.ts";
import { sendBy } from "../gateway.ts";

export interface HttpGatewayOptions {
  /** Called for each request, because a sandbox has no address before the server listens. */
  url: () => string;
  apiKey: string;
  from?: string | undefined;
  client: Client;
}

export function createHttpGateway({ url, apiKey, from, client }: HttpGatewayOptions): SmsGateway {
  return {
    name: "http",
    isGsmOnly: false,
    send: ({ id, to, text }, signal) =>
      sendBy(
        client,
        {
          method: "POST",
          url: url(),
          headers: { authorization: `Bearer ${apiKey}`, accept: "application/json" },
          body: { id, to, text, ...(from !== undefined && { from }) },
          signal,
        },
        readAnswer,
      ),
  };
}

const answerBody = z.discriminatedUnion("accepted", [
  z.object({
    accepted: z.literal(true),
    id: z.string().min(1).max(128).optional().catch(undefined),
    parts: z.number().int().positive().optional().catch(undefined),
  }),
  z.object({
    accepted: z.literal(false),
    error: z.string().max(200).optional().catch(undefined),
    permanent: z.boolean().catch(false),
  }),
]);

/** Undefined if the answer does not say what happened. */
function readAnswer({ body }: Answer): SendResult | undefined {
  const found = answerBody.safeParse(body).data;
  if (!found) return undefined;
  if (found.accepted) return { status: "sent", reference: found.id, parts: found.parts };
  return { status: "refused", reason: "by the gateway", answer: found.error, isPermanent: found.permanent };
}

const reportBody = z.object({ id: z.uuid(), status: z.string().max(64) });

export function readHttpReport({ body }: ReportRequest): DeliveryReport {
  try {
    const { id, status } = reportBody.parse(parseJson(body));
    return { of: { id }, status: status === "delivered" || status === "failed" ? status : undefined };
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}
