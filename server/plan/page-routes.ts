/** The page of a plan, for everyone who has its address. It needs no credential, and reading it changes nothing. */
import { randomBytes } from "node:crypto";
import type { FastifyInstance } from "fastify";
import type pg from "pg";
import { languageOf } from "../http/accept.ts";
import { languages } from "../order/order.ts";
import { sendPrivatePage } from "../page/send.ts";
import type { ShopView } from "../page/shop.ts";
import { renderPlan, renderUnknownPlan } from "./page/page.ts";
import * as route from "./page-route-schema.ts";
import { readPlanOfPage, type ViewOptions, viewOf } from "./page-state.ts";

export interface PlanPageRoutesOptions extends ViewOptions {
  pool: pg.Pool;
  /** Called for each request, because the port is known only then. */
  shop: () => ShopView;
}

type Call = { Params: { token: string }; Querystring: Record<string, unknown> };

/** Adds the route to a scope of its own. */
export function planPageRoutes(app: FastifyInstance, options: PlanPageRoutesOptions): void {
  app.get<Call>("/plan/:token", route.openPage, async (request, reply) => {
    const row = await readPlanOfPage(options.pool, request.params.token);
    const chosenLang = languages.find((one) => one === request.query.lang);
    const lang = chosenLang ?? row?.lang ?? languageOf(request.headers["accept-language"]);
    const page = { shop: options.shop(), lang, nonce: randomBytes(16).toString("base64") };
    const html = row ? renderPlan(viewOf(row, { ...page, chosenLang }, options)) : renderUnknownPlan(page);
    return sendPrivatePage(request, row ? reply : reply.code(404), { ...page, html });
  });
}
