/**
 * The page of a payment link, for everyone who has its address. GET changes nothing. POST starts a payment and redirects to the page, so
 * that a reload sends nothing again.
 */
import { randomBytes } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import { type ErrorCode, errorTable, HubError } from "../errors.ts";
import { languageOf } from "../http/accept.ts";
import { acceptForms } from "../http/form.ts";
import { assetRoute } from "../http/static-files.ts";
import { type Language, languages } from "../order/order.ts";
import { moneyOf } from "../page/format.ts";
import { qrSvg } from "../page/qr.ts";
import { sendPrivatePage } from "../page/send.ts";
import type { Provider } from "../provider/provider.ts";
import { renderCheckout } from "./page/checkout.ts";
import { findPageFile, pageFilesPath } from "./page/document.ts";
import { wordsOf } from "./page/language.ts";
import { renderPrintPage } from "./page/print.ts";
import { renderUnknownLink } from "./page/unknown.ts";
import { type ContentOptions, contentOf, pathOf } from "./page-content.ts";
import * as route from "./page-route-schema.ts";
import { type FormValues, type PageStartOptions, startOnPage } from "./page-start.ts";
import { type PageState, readPageState } from "./page-state.ts";
import type { Fault } from "./page-view.ts";
import { type Payer, payerOf } from "./payer.ts";

export interface PageRoutesOptions extends Omit<ContentOptions, "shop">, PageStartOptions {
  pool: pg.Pool;
  sealer: Sealer;
  providers: ReadonlyMap<string, Provider>;
  /** Base of the page's own URLs. */
  publicUrl: () => string;
  /** Called for each request, because the port is known only then. */
  shop: () => ContentOptions["shop"];
  isDraining: () => boolean;
}

type Call = { Params: { token: string }; Querystring: Record<string, unknown> };
type Request = FastifyRequest<Call>;

/** Adds the routes to a scope of their own. */
export async function pageRoutes(app: FastifyInstance, options: PageRoutesOptions): Promise<void> {
  acceptForms(app);
  assetRoute(app, pageFilesPath, findPageFile);

  app.get<Call>("/pay/:token", route.openPage, async (request, reply) => {
    const found = await findPage(options, request, reply);
    return found ? show(options, { request, reply, ...found }) : showUnknown(options, request, reply);
  });

  app.post<Call>("/pay/:token", route.payOnPage, async (request, reply) => {
    const found = await findPage(options, request, reply);
    if (!found) return showUnknown(options, request, reply);
    requireOwnPage(request, found.payer, options.publicUrl());
    const fault = found.state.canPay ? await startSafely(options, request, found) : undefined;
    if (fault) return show(options, { request, reply, ...found, fault });
    const { lang } = readQuery(request);
    return reply.redirect(pathOf(request.params.token, { lang }), 303);
  });

  app.get<Call>("/pay/:token/print", route.printPage, async (request, reply) => {
    const found = await findPage(options, request, reply);
    return found ? print(options, request, reply, found.state) : showUnknown(options, request, reply);
  });
}

/** Cuts each value to 64 characters, as the page's fields do. Empty for a body that is no form. */
function valuesOf({ body }: Request): FormValues {
  const form = body instanceof URLSearchParams ? body : new URLSearchParams();
  const fields = ["provider", "phone", "amount", "key"].map((name) => [name, form.get(name)?.slice(0, 64)]);
  return Object.fromEntries(fields.filter(([, value]) => value !== undefined));
}

interface Found {
  state: PageState;
  payer: Payer;
}

/** Undefined for a token that no link has. */
async function findPage(options: PageRoutesOptions, request: Request, reply: FastifyReply): Promise<Found | undefined> {
  const { token } = request.params;
  const base = new URL(options.publicUrl());
  const path = `${base.pathname.replace(/\/$/, "")}/pay/${token}`;
  if (!/^[\w-]+$/.test(token)) return undefined;
  const payer = payerOf(request, reply, { path, isSecure: base.protocol === "https:" });
  const { isAgain } = readQuery(request);
  const state = await readPageState(options, { token, payer: payer.hash, isAgain });
  if (!state) reply.removeHeader("set-cookie");
  return state && { state, payer };
}

/** A valid language, and whether the payer wants to pay again. */
function readQuery({ query }: Request): { lang: Language | undefined; isAgain: boolean } {
  return { lang: languages.find((one) => one === query.lang), isAgain: "again" in query };
}

const langOf = (request: Request, state?: PageState): Language =>
  readQuery(request).lang ?? state?.link.lang ?? languageOf(request.headers["accept-language"]);

const newNonce = (): string => randomBytes(16).toString("base64");

function show(
  options: PageRoutesOptions,
  { request, reply, state, fault }: Found & { request: Request; reply: FastifyReply; fault?: Fault },
): Promise<FastifyReply> {
  const { lang: chosenLang, isAgain } = readQuery(request);
  const shop = options.shop();
  const { token } = request.params;
  const lang = langOf(request, state);
  const nonce = newNonce();
  const view = contentOf(state, { token, lang, chosenLang, isAgain, nonce, fault }, { ...options, shop });
  if (fault) reply.code(statusOf(fault));
  if (fault?.retryAfterS !== undefined) reply.header("retry-after", fault.retryAfterS);
  return sendPrivatePage(request, reply, { shop, nonce, html: renderCheckout(view) });
}

/** A provider that the page does not offer is a wrong field, and no page that is missing. */
function statusOf({ code }: Fault): number {
  const { status } = errorTable[code as ErrorCode];
  return status === 404 ? 400 : status;
}

function showUnknown(options: PageRoutesOptions, request: Request, reply: FastifyReply): Promise<FastifyReply> {
  const look = { shop: options.shop(), nonce: newNonce() };
  const html = renderUnknownLink({ ...look, lang: langOf(request) });
  return sendPrivatePage(request, reply.code(404), { ...look, html });
}

function print(
  { publicUrl, shop: shopOf }: PageRoutesOptions,
  request: Request,
  reply: FastifyReply,
  state: PageState,
): Promise<FastifyReply> {
  const { description, amount_minor: amountMinor, currency } = state.link;
  const [shop, lang, nonce] = [shopOf(), langOf(request, state), newNonce()];
  const url = `${publicUrl()}/pay/${request.params.token}`;
  const view = {
    shop,
    lang,
    nonce,
    url,
    ...(amountMinor !== null && { amountText: moneyOf(amountMinor, currency, wordsOf(lang)) }),
    ...(description !== null && { description }),
  };
  return sendPrivatePage(request, reply, { shop, nonce, html: renderPrintPage(view, qrSvg(url)) });
}

/**
 * Refuses forms of other sites. The page sends no referrer, so its own form has the origin `null` in browsers that do not send
 * `Sec-Fetch-Site`; the cookie, which other sites' forms do not carry, tells it from theirs. A program sends no origin at all.
 */
function requireOwnPage({ headers, host }: Request, payer: Payer, publicUrl: string): void {
  const { origin, "sec-fetch-site": site } = headers;
  const isOwn = (): boolean => {
    if (site !== undefined) return site === "same-origin" || site === "none";
    if (origin === undefined) return true;
    if (origin === "null") return payer.isKnown;
    return [host, new URL(publicUrl).host].includes(URL.parse(origin)?.host ?? "");
  };
  if (!isOwn()) throw new HubError("origin_refused", "Only the payment link's own page may send this form");
}

/** Errors of the node are shown on the page, so that the payer can send the form again. */
async function startSafely(options: PageRoutesOptions, request: Request, found: Found): Promise<Fault | undefined> {
  const { state, payer } = found;
  const values = valuesOf(request);
  if (options.isDraining()) return { code: "restarting", retryAfterS: 1, values };
  const start = { values, lang: langOf(request, state), payer: payer.hash, address: request.ip };
  return startOnPage(options, state, start);
}
