/**
 * The demo shop at `/`, where there is a sandbox: a page, and the few routes that stand for a merchant's backend. The
 * page says what is bought and with which phone; how much that costs is known here, and so is the API key, which the
 * shop does not even need: it starts payments by the code behind `POST /v1/payments`.
 *
 * An order of the shop is opened by its name: 60 random bits that only the buyer's browser has. Whoever knows it may
 * watch the order and try it again, as a buyer may who follows a link in a mail.
 */
import { randomInt } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import type { WatchTokens } from "../auth/watch-token.ts";
import { asHubError } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import { refuseWhileDraining } from "../http/scope.ts";
import { assetRoute, keepAsset, keepAssets, sendPage } from "../http/static-files.ts";
import type { OrderQuery, OrderView } from "../order/query.ts";
import type { StartPayment } from "../payment/start.ts";
import type { StoredAccessToken } from "../provider/access-token.ts";
import type { Provider } from "../provider/provider.ts";
import { scenarioOf } from "../sandbox/phone.ts";
import { describedFile } from "../schema/route.ts";
import { parseInput } from "../validation.ts";
import { choiceOf, currencyOf, type ItemId, itemIds, items } from "./catalogue.ts";
import { homeOf } from "./own-page.ts";

export interface ShopOptions {
  providers: ReadonlyMap<string, Provider>;
  /** Whether a provider moves real money: the shop offers only those that do not. */
  terms: (provider: string) => { live: boolean };
  accessTokens: ReadonlyMap<string, Pick<StoredAccessToken, "ahead">>;
  startPayment: StartPayment;
  query: Pick<OrderQuery, "find" | "clock">;
  tokens: WatchTokens;
  /** Base of the shop's address as others see it. */
  publicUrl: () => string;
  /** Whether the node is shutting down. */
  isDraining: () => boolean;
}

/** A person has to find the phone, read and type. On a provider's own page there is more to type. */
const personS = 60;
const personOnPageS = 300;

const orderIdText = z.string().regex(/^SHOP(-[2-9A-HJ-NP-Z]{4}){3}$/, "is not an order of this shop");

const payBody = z
  .strictObject({
    item: z.enum(itemIds).optional(),
    /** To try again. */
    orderId: orderIdText.optional(),
    provider: z.string(),
    phone: z.string().max(32).optional(),
  })
  .refine(({ item, orderId }) => (item === undefined) !== (orderId === undefined), {
    message: "or else an orderId, to try that order again",
    path: ["item"],
  });

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const page = keepAsset(own("index.html"));
const scripts = [
  "shop.js",
  "clock.js",
  "form.js",
  "memory.js",
  "network.js",
  "panel.js",
  "payer.js",
  "payment.js",
  "snippet.js",
];
const findFile = keepAssets(Object.fromEntries(["shop.css", ...scripts].map((name) => [name, own(name)])));

const openShop = describedFile("Sandbox", {
  operationId: "openShop",
  summary: "A demo shop, to pay and watch",
  type: "text/html",
});

type OrderRequest = { Params: { orderId: string } };

/** Adds the shop's routes to a scope of their own; none where every provider is live. */
export async function demoShopRoutes(app: FastifyInstance, options: ShopOptions): Promise<void> {
  const { terms, accessTokens, startPayment, query, tokens, publicUrl, isDraining } = options;
  const providers = new Map([...options.providers].filter(([name]) => !terms(name).live));
  if (providers.size === 0) return;
  refuseWhileDraining(app, isDraining);

  const requireProvider = (name: string): Provider => {
    const provider = providers.get(name);
    if (!provider) throw new HubError("provider_unknown");
    return provider;
  };

  const findOrder = async (orderId: string): Promise<OrderView & { item: ItemId }> => {
    const view = orderIdText.safeParse(orderId).success ? await query.find(orderId) : undefined;
    const item = z.enum(itemIds).safeParse(view?.metadata?.item);
    if (!view || !item.success) throw new HubError("order_unknown");
    return { ...view, item: item.data };
  };

  const requireOwnPage = async (request: FastifyRequest): Promise<void> => void homeOf(request, publicUrl());

  app.get("/", openShop, async (request, reply) => sendPage(request, reply, { page: await page(), framedBy: "none" }));
  assetRoute(app, "/shop", findFile);

  app.get("/shop/catalogue", async (_request, reply) => {
    const choices = [...providers.values()].flatMap((provider) => choiceOf(provider) ?? []);
    return reply.header("cache-control", "no-cache").send({ items: Object.values(items), choices });
  });

  /** The page compares its clock with the one that events are stamped by. */
  app.get("/shop/clock", async (_request, reply) =>
    reply.header("cache-control", "no-store").send({ at: (await query.clock()).toISOString() }),
  );

  app.post<{ Params: { provider: string } }>(
    "/shop/providers/:provider/token",
    { onRequest: requireOwnPage },
    async ({ params }) => {
      const { name } = requireProvider(params.provider);
      const expiresAt = await accessTokens
        .get(name)
        ?.ahead()
        .catch((error: unknown) => {
          throw asHubError(error);
        });
      return { expiresAt: expiresAt?.toISOString() ?? null };
    },
  );

  app.post("/shop/payments", { onRequest: requireOwnPage }, async (request, reply) => {
    const body = parseInput(payBody, request.body);
    const provider = requireProvider(body.provider);
    const item = items[body.orderId === undefined ? (body.item ?? "tea") : (await findOrder(body.orderId)).item];
    const orderId = body.orderId ?? newOrderId();
    const currency = currencyOf(provider);
    if (currency === undefined) throw new HubError("currency_invalid");
    const payment = {
      orderId,
      amountMinor: item.prices[currency],
      currency,
      provider: provider.name,
      ...(body.phone !== undefined && { phone: body.phone }),
      description: item.name,
      returnUrl: `${homeOf(request, publicUrl())}/?orderId=${orderId}`,
      metadata: { item: item.id },
    };
    const { event } = await startPayment(payment, { deadlineS: deadlineOf(provider, body.phone) });
    return reply.code(202).send({ order: event, item: item.id, ...tokens.issue(event) });
  });

  app.post<OrderRequest>("/shop/orders/:orderId/watch-tokens", { onRequest: requireOwnPage }, async ({ params }) => {
    const { order, item } = await findOrder(params.orderId);
    return { order, item, ...tokens.issue(order) };
  });

  /** Where each version was learnt: the page wants to say whether it was a webhook that brought the news. */
  app.get<OrderRequest>("/shop/orders/:orderId/sources", async ({ params }, reply) => {
    const { events } = await findOrder(params.orderId);
    const sources = events.flatMap(({ version, source }) => (source ? [[version, source]] : []));
    return reply.header("cache-control", "no-store").send({ sources: Object.fromEntries(sources) });
  });
}

/** Longer than the sandbox's own where a person answers and not the number by itself; else the provider's. */
function deadlineOf({ checkout }: Provider, phone: string | undefined): number | undefined {
  const { answer, isDown } = scenarioOf(phone?.replace(/\D/g, "") ?? "");
  if (answer || isDown) return undefined;
  return checkout ? personOnPageS : personS;
}

/** Letters and digits that nobody mistakes for each other. */
const alphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

function newOrderId(): string {
  const group = (): string => Array.from({ length: 4 }, () => alphabet[randomInt(alphabet.length)]).join("");
  return `SHOP-${group()}-${group()}-${group()}`;
}
