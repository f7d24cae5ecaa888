/**
 * An SMS gateway: the company that sends texts, and its adapter.
 *
 * A text costs money and cannot be taken back, so an adapter states with certainty whether the gateway took it. `refused` is returned
 * only if nothing was sent: the request had no connection, or the gateway says so in its own words. Everything else is `unknown`.
 */
import { type Answer, type Call, CallFailed, type Client, Unreachable } from "../../provider/http-client.ts";
import type { Probe } from "../../provider/provider.ts";

export interface Sms {
  /** Identifies this request to send; the same for no other text. */
  id: string;
  /** E.164, with `+`. */
  to: string;
  text: string;
}

export type SendResult =
  | {
      status: "sent";
      /** The gateway's id of the message, which its delivery report has. */
      reference?: string | undefined;
      /** The parts that the gateway charges, if it says so. */
      parts?: number | undefined;
    }
  | {
      status: "refused";
      reason: string;
      /** The gateway's own words. They may have the number or the text, so that the log has none of them. */
      answer?: string | undefined;
      /** The gateway will never take this text to this number. */
      isPermanent: boolean;
      retryAfterS?: number | undefined;
    }
  | { status: "unknown"; reason: string };

/** A delivery report, as far as it is final. */
export interface DeliveryReport {
  /** How the report names the text: by the gateway's reference, or by the id that the request had. */
  of: { reference: string } | { id: string };
  /** Undefined while the text is on its way. */
  status: "delivered" | "failed" | undefined;
}

export interface SmsGateway {
  readonly name: SmsGatewayName;
  /** The gateway refuses texts outside the GSM 7-bit alphabet. */
  readonly isGsmOnly: boolean;
  /** Never throws. An abort of `signal` is `refused` before the request was written, and `unknown` afterwards. */
  send(sms: Sms, signal: AbortSignal): Promise<SendResult>;
  /**
   * Reads the account's balance, which sends nothing. Absent if the gateway has no such call. Throws if the gateway cannot be reached.
   */
  probe?(signal: AbortSignal): Promise<Probe & { balance?: string | undefined }>;
}

export const smsGatewayNames = ["africastalking", "beem", "http"] as const;

export type SmsGatewayName = (typeof smsGatewayNames)[number];

/** The bytes of a delivery report. */
export interface ReportRequest {
  contentType: string;
  body: string;
}

/** Reads one gateway's delivery reports. Throws `HubError` `webhook_unreadable`. */
export type ReadReport = (request: ReportRequest) => DeliveryReport;

/**
 * Statuses of a wrong request, and those with which a router answers before the API sees it. 408, 409 and 5xx are not among them,
 * because the text may have been sent.
 */
const refusingStatuses: ReadonlySet<number> = new Set([400, 401, 403, 404, 405, 411, 413, 414, 415, 429, 431]);

/** Makes the call. `read` reads an answer in the gateway's own words; undefined if it has none. */
export async function sendBy(
  client: Client,
  call: Call,
  read: (answer: Answer) => SendResult | undefined,
): Promise<SendResult> {
  let answer: Answer;
  try {
    answer = await client.call(call);
  } catch (error) {
    if (error instanceof Unreachable) return { status: "refused", reason: error.message, isPermanent: false };
    const code = error instanceof CallFailed ? error.code : "failed";
    return { status: "unknown", reason: `the gateway did not answer: ${code}` };
  }
  const { status, retryAfterS } = answer;
  const stated = read(answer);
  if (stated) return stated.status === "refused" ? { ...stated, retryAfterS } : stated;
  if (refusingStatuses.has(status))
    return { status: "refused", reason: `HTTP ${status}`, isPermanent: false, retryAfterS };
  return { status: "unknown", reason: `the answer cannot be read (HTTP ${status})` };
}
