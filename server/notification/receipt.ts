/** The receipt: a mail to the payer of a paid order, if the order has an address. */
import type pg from "pg";
import type { Notification } from "../delivery/notification.ts";
import { nothingToSend } from "../delivery/receiver.ts";
import type { ShopView } from "../page/shop.ts";
import type { Mailer } from "./mail/mailer.ts";
import { receiptMail } from "./mail/receipt-mail.ts";
import { readPaidOrder } from "./paid-order.ts";
import { createReceiptToken } from "./receipt-token.ts";

export interface ReceiptOptions {
  pool: pg.Pool;
  mailer: Mailer;
  shop: () => ShopView;
  /** Base of the receipt pages' URLs. */
  publicUrl: () => string;
}

export const createReceipt = ({ pool, mailer, shop, publicUrl }: ReceiptOptions): Notification => ({
  name: "receipt",
  events: ["order.succeeded"],
  async receive(_message, signal, { subjectId, replays }) {
    const order = await readPaidOrder(pool, subjectId);
    if (order?.email === undefined || !mailer.canSend(order)) return nothingToSend;
    const { email: to, isSandbox, lang } = order;
    const receiptUrl = `${publicUrl()}/receipts/${await createReceiptToken(pool, order.uuid)}`;
    const content = receiptMail(order, { shop: shop(), lang, receiptUrl, now: new Date() });
    const id = `${order.uuid}.receipt${replays > 0 ? `.${replays}` : ""}`;
    return mailer.send({ ...content, to, id, isSandbox }, signal);
  },
});
