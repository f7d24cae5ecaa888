/**
 * The notification `sms`: a text to the payer when the order succeeds.
 *
 * Guarantees: at most one text for each request to send it. The attempt takes the row of that request first (take.ts), so that a process
 * that ends at any point, another node, and a lost answer lead to no second text. Does not guarantee that the text arrives: a text of
 * which the gateway's answer is unknown is not sent again until the merchant asks for it.
 */
import type { FastifyBaseLogger } from "fastify";
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { leaseS } from "../../delivery/claim.ts";
import { type NoAttempt, nothingToSend, type Receiver, type Reply } from "../../delivery/receiver.ts";
import { fieldError } from "../../errors.ts";
import type { Result } from "../../order/order.ts";
import { displayNameOf, moneyOf } from "../../page/format.ts";
import { notConfigured, type OwnNotification } from "../notification.ts";
import { type PaidOrder, readPaidOrder } from "../paid-order.ts";
import type { SendResult, SmsGateway } from "./gateway.ts";
import { partsOf } from "./parts.ts";
import { replyOf, replyOfResult } from "./reply.ts";
import { releaseSms, type SmsStatus, settleSms, takeSms } from "./take.ts";
import { sendTestSms } from "./test-sms.ts";
import { composeSms } from "./text.ts";

export interface SmsNotificationOptions {
  pool: pg.Pool;
  /** The gateway for this order; undefined: its SMS is not sent. */
  gatewayOf: (order: Pick<PaidOrder, "isSandbox">) => SmsGateway | undefined;
  /** The name of the shop. */
  shopName: () => string;
  log: Pick<FastifyBaseLogger, "warn">;
}

/** 30 s, because a merchant's backend gives the payer a code within seconds, and a payer waits for the text. */
const codeWaitMs = 30_000;

/** 4 days, because attempts go on for three: a text about an older payment comes from a change of the order, and would confuse the payer. */
const lateMs = 4 * 86_400_000;

export const createSmsNotification = (options: SmsNotificationOptions): OwnNotification => ({
  name: "sms",
  events: ["order.succeeded"],
  receive: (...given) => receive(options, ...given),
  async refusalOf(orderUuid) {
    const order = await readPaidOrder(options.pool, orderUuid);
    if (!order) return undefined;
    if (!options.gatewayOf(order)) return notConfigured("sms");
    return order.phone === undefined
      ? fieldError("recipient_missing", "customer.phone", "the order has no complete number, and its payment has none")
      : undefined;
  },
  test: (to, signal) => sendTestSms(options, to, signal),
});

async function receive(
  options: SmsNotificationOptions,
  ...[, signal, claimed]: Parameters<Receiver>
): Promise<Reply | NoAttempt> {
  const order = await readPaidOrder(options.pool, claimed.subjectId);
  const gateway = order && options.gatewayOf(order);
  if (!order?.phone || !gateway) return nothingToSend;
  const isFirst = claimed.replays === 0;
  const take = {
    ...{ id: uuidv7(), orderUuid: order.uuid, replays: claimed.replays, provider: gateway.name },
    from: new Date(order.paidAt.getTime() + (isFirst && codesOf(order).length === 0 ? codeWaitMs : 0)),
    until: isFirst ? new Date(order.paidAt.getTime() + lateMs) : undefined,
  };
  const taken = await takeSms(options.pool, take);
  switch (taken.outcome) {
    case "taken":
      return send(options, { id: take.id, order, phone: order.phone, gateway, signal });
    case "early":
      return { deferMs: taken.waitMs };
    case "late":
      return nothingToSend;
    case "busy":
      return { deferMs: busyMs };
    case "found":
      return replyOfEarlier(options.pool, taken);
  }
}

const busyMs = 1_000;

/** Nothing is sent: an earlier attempt of the same request has taken it. */
async function replyOfEarlier(
  pool: pg.Pool,
  { id, status, ageMs }: { id: string; status: SmsStatus; ageMs: number },
): Promise<Reply | NoAttempt> {
  if (status === "sending") {
    // The attempt may still be in flight, until its lease has ended.
    const leftMs = leaseS * 1_000 - ageMs;
    if (leftMs > 0) return { deferMs: Math.ceil(leftMs) };
    await settleSms(pool, id, { status: "unknown" });
  }
  if (status === "sent" || status === "delivered") return { ...replyOf(true, 0), sentId: id };
  return { ...replyOf(false, 0), isFinal: true, error: finalErrors[status], sentId: id };
}

const finalErrors = {
  sending: "unknown: the process ended before it recorded the gateway's answer; the SMS is not sent again",
  unknown: "unknown: the gateway's answer to an earlier attempt was lost; the SMS is not sent again",
  failed: "the gateway refused the SMS for good, or reported that it was not delivered",
} as const;

interface Sending {
  id: string;
  order: PaidOrder;
  phone: string;
  gateway: SmsGateway;
  signal: AbortSignal;
}

async function send(
  { pool, shopName, log }: SmsNotificationOptions,
  { id, order, phone, gateway, signal }: Sending,
): Promise<Reply> {
  const startedMs = performance.now();
  const text = textOf(order, shopName(), gateway);
  const result = await gateway.send({ id, to: phone, text }, signal);
  const took = performance.now() - startedMs;
  await recordResult(pool, id, { result, text });
  if (result.status === "unknown") {
    log.warn(
      { event: "sms.answer.unknown", orderId: order.orderId, provider: gateway.name, reason: result.reason },
      "The gateway's answer is unknown; the SMS is not sent again",
    );
  }
  // The process ends: another attempt may send it.
  if (result.status === "refused" && isShutdown(signal)) throw signal.reason;
  const reply = replyOfResult(result, took);
  return reply.isDelivered || reply.isFinal ? { ...reply, sentId: id } : reply;
}

function recordResult(
  pool: pg.Pool,
  id: string,
  { result, text }: { result: SendResult; text: string },
): Promise<object[]> {
  if (result.status === "sent") return settleSms(pool, id, { ...result, parts: result.parts ?? partsOf(text).parts });
  if (result.status === "unknown") return settleSms(pool, id, { status: "unknown" });
  return result.isPermanent ? settleSms(pool, id, { status: "failed" }) : releaseSms(pool, id);
}

const isShutdown = ({ aborted, reason }: AbortSignal): boolean =>
  aborted && !(reason instanceof Error && reason.name === "TimeoutError");

/** The codes of tickets and vouchers that have not expired. */
const codesOf = ({ results }: Pick<PaidOrder, "results">): string[] =>
  results.flatMap(({ code, expiresAt }: Result) =>
    code === undefined || (expiresAt !== undefined && Date.parse(expiresAt) < Date.now()) ? [] : [code],
  );

function textOf(order: PaidOrder, shop: string, { isGsmOnly }: SmsGateway): string {
  const { amountMinor, currency, lang, provider, receipt } = order;
  // English, because a gateway with the GSM alphabet only gets no Bangla.
  const locale = isGsmOnly && lang === "bn" ? "en" : lang;
  return composeSms(
    {
      lang,
      amount: moneyOf(amountMinor, currency, { locale }),
      shop,
      provider: displayNameOf(provider),
      receipt,
      codes: codesOf(order),
    },
    { isGsmOnly },
  );
}
