/**
 * The page of a plan, for everyone who has its address. It needs no credential. GET changes nothing. POST leads to a payment link over
 * several instalments, which it creates if there is none: it needs no proof of its origin, because another site does not know the address.
 */
import { randomBytes } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type pg from "pg";
import { type ErrorCode, HubError } from "../errors.ts";
import { languageOf } from "../http/accept.ts";
import { acceptForms } from "../http/form.ts";
import { type Language, languages } from "../order/order.ts";
import { sendPrivatePage } from "../page/send.ts";
import type { ShopView } from "../page/shop.ts";
import { pathOf } from "../payment-link/page-content.ts";
import type { LinkRow } from "../payment-link/row.ts";
import { openToken } from "../payment-link/token.ts";
import { renderPlan, renderUnknownPlan } from "./page/page.ts";
import * as route from "./page-route-schema.ts";
import { type PageRow, readPlanOfPage, type ViewOptions, viewOf } from "./page-state.ts";

export interface PlanPageRoutesOptions extends ViewOptions {
  pool: pg.Pool;
  /** Returns the payment link for all open instalments of a plan up to a number. */
  linkUpTo: (planId: string, n: number) => Promise<LinkRow>;
  /** Called for each request, because the port is known only then. */
  shop: () => ShopView;
}

type Call = { Params: { token: string }; Querystring: Record<string, unknown> };
type Request = FastifyRequest<Call>;

/** Adds the routes to a scope of their own. */
export function planPageRoutes(app: FastifyInstance, options: PlanPageRoutesOptions): void {
  acceptForms(app);

  app.get<Call>("/plan/:token", route.openPage, async (request, reply) => show(options, request, reply));

  app.post<Call>("/plan/:token", route.paySeveral, async (request, reply) => {
    const row = await readPlanOfPage(options.pool, request.params.token);
    if (!row) return show(options, request, reply);
    const link = await linkFor(options, row, numberIn(request));
    if (link === "too much") return show(options, request, reply.code(400), true);
    const lang = langIn(request);
    const token = link && openToken(options.sealer, link.id, link.token);
    const path = token === undefined ? pathOf(request.params.token, { lang }) : `../pay/${pathOf(token, { lang })}`;
    return reply.redirect(path, 303);
  });
}

const langIn = ({ query }: Request): Language | undefined => languages.find((one) => one === query.lang);

/** The number that the form sends. Undefined for another text. */
function numberIn({ body }: Request): number | undefined {
  const text = (body instanceof URLSearchParams && body.get("n")) || "";
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}

/** Refusals after which the page shows the plan as it is now: it has changed since the payer opened the page. */
const overtaken: ReadonlySet<ErrorCode> = new Set(["plan_closed", "payment_link_closed", "body_invalid"]);

async function linkFor(
  { linkUpTo }: PlanPageRoutesOptions,
  { plan_id: planId }: PageRow,
  n: number | undefined,
): Promise<LinkRow | "too much" | undefined> {
  if (n === undefined) return undefined;
  try {
    return await linkUpTo(planId, n);
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    if (error.code === "amount_invalid") return "too much";
    if (overtaken.has(error.code)) return undefined;
    throw error;
  }
}

async function show(
  options: PlanPageRoutesOptions,
  request: Request,
  reply: FastifyReply,
  isTooMuch = false,
): Promise<FastifyReply> {
  const { token } = request.params;
  const row = await readPlanOfPage(options.pool, token);
  const chosenLang = langIn(request);
  const lang = chosenLang ?? row?.lang ?? languageOf(request.headers["accept-language"]);
  const page = { shop: options.shop(), lang, nonce: randomBytes(16).toString("base64") };
  const html = row
    ? renderPlan(viewOf(row, { ...page, token, chosenLang, isTooMuch }, options))
    : renderUnknownPlan(page);
  return sendPrivatePage(request, row ? reply : reply.code(404), { ...page, html });
}
