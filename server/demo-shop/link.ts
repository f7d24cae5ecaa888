/** "Pay by link": the route by which the shop's page gets a payment link for an item. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { qrSvg } from "../page/qr.ts";
import type { PaymentLinks } from "../payment-link/payment-link.ts";
import { type Provider, requireProvider } from "../provider/provider.ts";
import { parseInput } from "../validation.ts";
import { currencyOf, itemIds, items } from "./catalogue.ts";
import { newOrderId, shopName } from "./order.ts";
import { homeOf } from "./own-page.ts";

export interface LinkRoutesOptions {
  /** The sandboxes. */
  providers: ReadonlyMap<string, Provider>;
  links: Pick<PaymentLinks, "create">;
  /** Base of the shop's own URLs. */
  publicUrl: () => string;
  onRequest: (request: FastifyRequest) => Promise<void>;
}

const linkBody = z.strictObject({ item: z.enum(itemIds), provider: z.string() });

/** A day, because nobody needs a link of the demo for longer. */
const validMs = 86_400_000;

export function linkRoutes(app: FastifyInstance, { providers, links, publicUrl, onRequest }: LinkRoutesOptions): void {
  app.post("/shop/links", { onRequest }, async (request, reply) => {
    const body = parseInput(linkBody, request.body);
    const currency = currencyOf(requireProvider(providers, body.provider));
    if (currency === undefined) throw new HubError("currency_invalid");
    const item = items[body.item];
    const { paymentLink } = await links.create({
      orderId: newOrderId(),
      amountMinor: item.prices[currency],
      currency,
      description: item.name,
      // Only sandboxes, so that no real money moves.
      providers: [...providers.values()].filter((one) => currencyOf(one) === currency).map(({ name }) => name),
      expiresAt: new Date(Date.now() + validMs).toISOString(),
      metadata: { item: item.id, merchant: shopName },
    });
    if (paymentLink.url === undefined) throw new HubError("not_ready");
    const url = homeOf(request, publicUrl()) + new URL(paymentLink.url).pathname.replace(/^.*(?=\/pay\/)/, "");
    return reply.code(201).send({ url, qr: qrSvg(url) });
  });
}
