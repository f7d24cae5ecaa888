/** Routes for payment links. For the merchant's backend only. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { HubError } from "../errors.ts";
import { qrPng, qrSvg } from "../page/qr.ts";
import { parseInput, readIdempotencyKey, text, wholeText } from "../validation.ts";
import type { PaymentLinks } from "./payment-link.ts";
import * as route from "./route-schema.ts";
import { linkStatuses } from "./row.ts";

export interface PaymentLinkRoutesOptions {
  access: Access;
  links: PaymentLinks;
}

const linkFilter = z.strictObject({
  status: z
    .enum(linkStatuses)
    .meta({ description: "Only links with this status now.", examples: ["open"] })
    .optional(),
  cursor: text(500).describe("The `nextCursor` of the previous page.").optional(),
  limit: wholeText(1, 200, { description: "Links in a page.", examples: [20] }).default(50),
});

type LinkParams = { Params: { id: string } };

const idShape = z.uuid();

/** Throws `payment_link_unknown` for an id that no link can have. */
function idOf({ params }: { params: { id: string } }): string {
  if (!idShape.safeParse(params.id).success) throw new HubError("payment_link_unknown");
  return params.id;
}

/** Adds the routes. All of them need the API key. */
export function paymentLinkRoutes(app: FastifyInstance, { access, links }: PaymentLinkRoutesOptions): void {
  const onRequest = merchantOnly(access);

  app.post("/v1/payment-links", { ...route.createPaymentLink, onRequest }, async (request, reply) => {
    const key = readIdempotencyKey(request.headers["idempotency-key"]);
    const { paymentLink, isReplayed } = await links.create(request.body, key);
    request.subject = paymentLink.id;
    if (isReplayed) reply.header("idempotency-replayed", "true");
    return reply.code(201).send({ paymentLink });
  });

  app.get("/v1/payment-links", { ...route.listPaymentLinks(linkFilter), onRequest }, async (request) =>
    links.list(parseInput(linkFilter, request.query)),
  );

  app.get<LinkParams>("/v1/payment-links/:id", { ...route.readPaymentLink, onRequest }, async (request) => ({
    paymentLink: await links.read(idOf(request)),
  }));

  app.post<LinkParams>("/v1/payment-links/:id/cancel", { ...route.cancelPaymentLink, onRequest }, async (request) => ({
    paymentLink: await links.cancel(idOf(request)),
  }));

  app.get<LinkParams>("/v1/payment-links/:id/qr.svg", { ...route.readQrSvg, onRequest }, async (request, reply) =>
    reply.type("image/svg+xml").send(qrSvg(await urlOf(links, idOf(request)))),
  );

  app.get<LinkParams>("/v1/payment-links/:id/qr.png", { ...route.readQrPng, onRequest }, async (request, reply) =>
    reply.type("image/png").send(qrPng(await urlOf(links, idOf(request)))),
  );
}

/** Throws `not_ready` if this node cannot decrypt the link's token. */
async function urlOf(links: PaymentLinks, id: string): Promise<string> {
  const { url } = await links.read(id);
  if (url === undefined) throw new HubError("not_ready", "No TUKIO_SECRET of this node can decrypt the link's token");
  return url;
}
