/** The page of a receipt, for everyone who has its address. It needs no credential, and reading it changes nothing. */
import { randomBytes } from "node:crypto";
import type { FastifyInstance } from "fastify";
import type pg from "pg";
import { languageOf } from "../http/accept.ts";
import { languages } from "../order/order.ts";
import { sendPrivatePage } from "../page/send.ts";
import type { ShopView } from "../page/shop.ts";
import { renderReceiptPage, renderUnknownReceipt } from "./receipt-page/page.ts";
import { findReceipt } from "./receipt-token.ts";
import * as route from "./route-schema.ts";

export interface ReceiptRoutesOptions {
  pool: pg.Pool;
  shop: () => ShopView;
}

type Call = { Params: { token: string }; Querystring: Record<string, unknown> };

/** Adds the route to a scope of its own. */
export function receiptRoutes(app: FastifyInstance, { pool, shop: shopOf }: ReceiptRoutesOptions): void {
  app.get<Call>("/receipts/:token", route.openReceipt, async (request, reply) => {
    const receipt = await findReceipt(pool, request.params.token);
    const chosen = languages.find((one) => one === request.query.lang);
    const lang = chosen ?? receipt?.lang ?? languageOf(request.headers["accept-language"]);
    const page = { shop: shopOf(), lang, nonce: randomBytes(16).toString("base64") };
    const html = receipt ? renderReceiptPage({ ...page, receipt }) : renderUnknownReceipt(page);
    return sendPrivatePage(request, receipt ? reply : reply.code(404), { ...page, html });
  });
}
