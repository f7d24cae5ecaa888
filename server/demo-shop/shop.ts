/**
 * The demo shop at `/`, for nodes with a sandbox: a page, and the routes of a small merchant's backend. The page sends the item and
 * the phone. The prices are in the backend only. The shop starts payments with the code of `POST /v1/payments` and needs no API key.
 *
 * The id of a shop's order has 60 random bits, which only the buyer's browser knows. A client that knows the id may watch the
 * order and pay it again, like a buyer who follows a link in a mail. The page also shows what only a merchant's backend receives.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import type { WatchTokens } from "../auth/watch-token.ts";
import { asHubError } from "../database/pool.ts";
import type { OpenDelivery } from "../delivery/open.ts";
import { HubError } from "../errors.ts";
import { refuseWhileDraining } from "../http/scope.ts";
import { assetRoute, digitsFile, iconFiles, keepAsset, keepAssets, sendPage } from "../http/static-files.ts";
import type { OrderQuery } from "../order/query.ts";
import type { StartPayment } from "../payment/start.ts";
import { phoneLengthMax } from "../phone-text.ts";
import type { StoredAccessToken } from "../provider/access-token.ts";
import { type Provider, requireProvider } from "../provider/provider.ts";
import { describedFile } from "../schema/route.ts";
import { parseInput, wholeText } from "../validation.ts";
import { choiceOf, currencyOf, type ItemId, itemIds, items } from "./catalogue.ts";
import type { Fulfilment } from "./fulfilment.ts";
import { type LinkRoutesOptions, linkRoutes } from "./link.ts";
import { findOrder, newOrderId, orderIdText, shopName } from "./order.ts";
import { homeOf } from "./own-page.ts";
import { type PlanRoutesOptions, planRoutes } from "./plan.ts";

export interface ShopOptions extends Pick<LinkRoutesOptions, "links">, Pick<PlanRoutesOptions, "plans"> {
  providers: ReadonlyMap<string, Provider>;
  /** Whether a provider moves real money: the shop offers only those that do not. */
  terms: (provider: string) => { isSandbox: boolean };
  accessTokens: ReadonlyMap<string, Pick<StoredAccessToken, "ahead">>;
  startPayment: StartPayment;
  query: Pick<OrderQuery, "find" | "clock">;
  delivery: Pick<OpenDelivery, "messagesOf">;
  tokens: WatchTokens;
  fulfilment: Pick<Fulfilment, "give">;
  /** Base of the shop's own URLs. */
  publicUrl: () => string;
  /** Whether the node is shutting down. */
  isDraining: () => boolean;
}

const payBody = z
  .strictObject({
    item: z.enum(itemIds).optional(),
    /** The order to pay again. */
    orderId: orderIdText.optional(),
    provider: z.string(),
    phone: z.string().max(phoneLengthMax).optional(),
    /** For the receipt, which goes to the sandbox's inbox. */
    email: z.email("is no email address").max(254).optional(),
  })
  .refine(({ item, orderId }) => (item === undefined) !== (orderId === undefined), {
    message: "is required, unless there is an orderId to pay again",
    path: ["item"],
  });

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const page = keepAsset(own("index.html"));
const scripts = [
  "shop.js",
  "clock.js",
  "form.js",
  "memory.js",
  "messages.js",
  "network.js",
  "panel.js",
  "payer.js",
  "pay-link.js",
  "payment.js",
  "phone-frame.js",
  "plan.js",
  "sent.js",
  "snippet.js",
];
const findFile = keepAssets({
  ...iconFiles,
  ...digitsFile,
  ...Object.fromEntries(["shop.css", ...scripts].map((name) => [name, own(name)])),
});

const openShop = describedFile("Sandbox", {
  operationId: "openShop",
  summary: "A demo shop, to pay and watch",
  type: "text/html",
});

type OrderRequest = { Params: { orderId: string } };

const messageFilter = z.strictObject({ after: wholeText(0, 2_147_483_647).default(0) });

export { createFulfilment } from "./fulfilment.ts";

/** Adds the shop to a scope of its own. Adds nothing if no provider is the built-in sandbox. */
export async function demoShopRoutes(app: FastifyInstance, options: ShopOptions): Promise<void> {
  const providers = new Map([...options.providers].filter(([name]) => options.terms(name).isSandbox));
  if (providers.size === 0) return;
  refuseWhileDraining(app, options.isDraining);
  app.get("/", openShop, async (request, reply) =>
    sendPage(request, reply, { page: await page(), framedBy: "none", hasForm: true }),
  );
  assetRoute(app, "/shop", findFile);
  app.get("/shop/catalogue", async (_request, reply) => {
    const choices = [...providers.values()].flatMap((provider) => choiceOf(provider) ?? []);
    return reply.header("cache-control", "no-cache").send({
      items: Object.values(items),
      choices,
      hasClock: options.plans.advanceClock !== undefined,
    });
  });
  addPaymentRoutes(app, { ...options, providers });
  const onRequest = requireOwnPage(options.publicUrl);
  linkRoutes(app, { ...options, providers, onRequest });
  await app.register((scope) => planRoutes(scope, { ...options, providers, onRequest }));
  addOrderRoutes(app, options);
}

const requireOwnPage =
  (publicUrl: () => string) =>
  async (request: FastifyRequest): Promise<void> =>
    void homeOf(request, publicUrl());

function addPaymentRoutes(app: FastifyInstance, options: ShopOptions): void {
  const { providers, accessTokens, startPayment, query, tokens, publicUrl } = options;
  const onRequest = requireOwnPage(publicUrl);

  app.post<{ Params: { provider: string } }>("/shop/providers/:provider/token", { onRequest }, async ({ params }) => {
    const { name } = requireProvider(providers, params.provider);
    const fetching = accessTokens.get(name)?.ahead();
    const expiresAt = await fetching?.catch((error: unknown) => {
      throw asHubError(error);
    });
    return { expiresAt: expiresAt?.toISOString() ?? null };
  });

  app.post("/shop/payments", { onRequest }, async (request, reply) => {
    const body = parseInput(payBody, request.body);
    const provider = requireProvider(providers, body.provider);
    const itemId = body.orderId === undefined ? (body.item ?? "tea") : (await findOrder(query, body.orderId)).item;
    const payment = toPayment(body, { provider, itemId, home: homeOf(request, publicUrl()) });
    const { event } = await startPayment(payment);
    return reply.code(202).send({ order: event, item: itemId, ...tokens.issue(event) });
  });
}

function addOrderRoutes(app: FastifyInstance, options: ShopOptions): void {
  const { query, delivery, tokens, fulfilment, publicUrl } = options;
  const onRequest = requireOwnPage(publicUrl);

  /** The page compares its clock with PostgreSQL's, which sets the times of events. */
  app.get("/shop/clock", async (_request, reply) =>
    reply.header("cache-control", "no-store").send({ at: (await query.clock()).toISOString() }),
  );

  app.post<OrderRequest>("/shop/orders/:orderId/watch-tokens", { onRequest }, async ({ params }) => {
    const found = await findOrder(query, params.orderId);
    const { order, item } = found;
    // The page receives it as the order's next state.
    void fulfilment.give(found);
    return { order, item, ...tokens.issue(order) };
  });

  /** The source of each version, so that the page can show whether a webhook caused it. */
  app.get<OrderRequest>("/shop/orders/:orderId/sources", async ({ params }, reply) => {
    const { events } = await findOrder(query, params.orderId);
    const sources = events.flatMap(({ version, source }) => (source ? [[version, source]] : []));
    return reply.header("cache-control", "no-store").send({ sources: Object.fromEntries(sources) });
  });

  /** The messages that the merchant's backend receives about the order. The page reads them when the order has changed. */
  app.get<OrderRequest>("/shop/orders/:orderId/messages", async ({ params, query: search }, reply) => {
    const { after } = parseInput(messageFilter, search);
    const { order } = await findOrder(query, params.orderId);
    const messages = (await delivery.messagesOf(order.id, after)).map(({ id, body }) => ({ id, body }));
    return reply.header("cache-control", "no-store").send({ messages });
  });
}

/** The body for `startPayment`. Throws `currency_invalid` if the item has no price in the provider's currencies. */
function toPayment(
  { orderId = newOrderId(), phone, email }: z.infer<typeof payBody>,
  { provider, itemId, home }: { provider: Provider; itemId: ItemId; home: string },
): object {
  const item = items[itemId];
  const currency = currencyOf(provider);
  if (currency === undefined) throw new HubError("currency_invalid");
  return {
    orderId,
    amountMinor: item.prices[currency],
    currency,
    provider: provider.name,
    ...(phone !== undefined && { phone }),
    ...(email !== undefined && { customer: { email } }),
    description: item.name,
    returnUrl: `${home}/?orderId=${orderId}`,
    // The name on the sandbox's phone.
    metadata: { item: item.id, merchant: shopName },
  };
}
