/**
 * Alerts: mails to the merchant about what needs a person. The notification receives events, keeps those that need somebody, and sends
 * one mail of a kind in an hour at most.
 */
import type pg from "pg";
import { z } from "zod";
import type { Message } from "../../delivery/message.ts";
import { type NoAttempt, nothingToSend, type Reply } from "../../delivery/receiver.ts";
import type { ShopView } from "../../page/shop.ts";
import { type AlertEntry, alertMail } from "../mail/alert-mail.ts";
import { type Mailer, sandboxAddress } from "../mail/mailer.ts";
import { sendTestMail } from "../mail/test-mail.ts";
import { notConfigured, type OwnNotification } from "../notification.ts";
import { isLiveOrder } from "../paid-order.ts";
import {
  type AlertGroup,
  type AlertRow,
  beginAlertMail,
  groupOf,
  readAlertMail,
  recordAlert,
  recordRefused,
  recordSent,
  type StoredAlert,
} from "./store.ts";

export interface AlertOptions {
  pool: pg.Pool;
  mailer: Mailer;
  shop: () => ShopView;
  /** The address that receives alerts. Absent: alerts about live payments are not sent. */
  merchantEmail: string | undefined;
}

/** A minute: the node has the notification for the sandbox only, and another one, with a mail server, stored the alert. */
const elsewhereMs = 60_000;

/** The notification, and `raise` for alerts that no event reports. An alert that may not be sent is not kept. */
export function createAlert(options: AlertOptions): OwnNotification & { raise(alert: StoredAlert): Promise<void> } {
  const { pool, mailer, merchantEmail } = options;
  const canSend = (live: boolean): boolean =>
    mailer.canSend({ isSandbox: !live }) && (!live || merchantEmail !== undefined);
  return {
    name: "alert",
    events: ["endpoint.disabled", "order.review", "order.succeeded", "order.updated"],
    async receive(message, signal, { kind, subjectId, isReplay }) {
      if (kind === "alert") {
        const group = groupOf(subjectId);
        return group && !canSend(group.live) ? { deferMs: elsewhereMs } : sendMail(options, group, signal);
      }
      const alert = alertOf(message, canSend(true));
      if (!alert || !canSend(alert.live)) return nothingToSend;
      await recordAlert(pool, alert, isReplay);
      return { isDelivered: true, isGone: false, durationMs: 0, answer: "kept for the next mail" };
    },
    async refusalOf(orderUuid) {
      return canSend(await isLiveOrder(pool, orderUuid)) ? undefined : notConfigured("alert");
    },
    test: (to, signal) => sendTestMail(options, to, signal),
    async raise(alert) {
      if (canSend(alert.live)) await recordAlert(pool, alert, false);
    },
  };
}

/** The parts of a message that an alert needs. */
const body = z.object({
  data: z.object({
    order: z
      .object({
        id: z.uuid(),
        live: z.boolean(),
        status: z.string(),
        reason: z.string().optional(),
        alsoPaid: z.array(z.string()).optional(),
      })
      .optional(),
    endpoint: z.object({ id: z.uuid() }).optional(),
  }),
});

/** Undefined for a message that needs no person. `isLive`: whether messages about endpoints concern live payments. */
function alertOf({ type, version, body: text }: Message, isLive: boolean): StoredAlert | undefined {
  const { order, endpoint } = body.parse(JSON.parse(text)).data;
  if (endpoint) return { kind: "endpoint_disabled", live: isLive, subject: endpoint.id, version };
  if (!order) return undefined;
  const { id: subject, live } = order;
  if (order.reason === "paid_twice") {
    // Once for each further payment, however often the order changes.
    return { kind: "paid_twice", live, subject, version: order.alsoPaid?.length ?? 1 };
  }
  return type === "order.review" ? { kind: "review", live, subject, version } : undefined;
}

async function sendMail(
  { pool, mailer, shop, merchantEmail }: AlertOptions,
  group: AlertGroup | undefined,
  signal: AbortSignal,
): Promise<Reply | NoAttempt> {
  if (!group) return nothingToSend;
  const { n, waitMs } = await beginAlertMail(pool, group);
  if (n === null) return waitMs === null ? nothingToSend : { deferMs: Math.ceil(waitMs) };
  const { kind, live } = group;
  const rows = await readAlertMail(pool, group, n);
  const content = alertMail(
    {
      ...{ kind, count: rows[0]?.count ?? 0, entries: rows.map(entryOf) },
      ...{ isSandbox: !live, isDefaultAddress: merchantEmail === undefined },
    },
    { shop: shop(), lang: "en" },
  );
  const id = `alert.${kind}.${live ? "live" : "test"}.${n}`;
  const reply = await mailer.send({ ...content, to: merchantEmail ?? sandboxAddress, id, isSandbox: !live }, signal);
  if (reply.isDelivered) await recordSent(pool, group, n);
  if (reply.isFinal) await recordRefused(pool, group, n);
  return reply;
}

function entryOf({ subject, at, order_id, amount_minor, paid_minor, currency, reason, url }: AlertRow): AlertEntry {
  const money = amount_minor !== null && currency !== null && { amountMinor: amount_minor, currency };
  const paid = paid_minor !== null && paid_minor !== amount_minor && { paidMinor: paid_minor };
  return {
    subject: order_id ?? url ?? subject,
    at,
    ...(money && { money: { ...money, ...paid } }),
    ...(reason !== null && { reason }),
  };
}
