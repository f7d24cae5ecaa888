/** The checkout page in each of its states, and a server that shows a view. */
import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { assetRoute } from "../../server/http/static-files.ts";
import { qrSvg } from "../../server/page/qr.ts";
import { sendPrivatePage } from "../../server/page/send.ts";
import { operatorOf } from "../../server/payment-link/operator.ts";
import { renderCheckout } from "../../server/payment-link/page/checkout.ts";
import { findPageFile, pageFilesPath } from "../../server/payment-link/page/document.ts";
import { renderPrintPage } from "../../server/payment-link/page/print.ts";
import { renderUnknownLink } from "../../server/payment-link/page/unknown.ts";
import type { CheckoutView, ProviderChoice } from "../../server/payment-link/page-view.ts";
import { sdkRoutes } from "../../server/route/sdk.ts";
import { eventOf } from "./event.ts";

const choice = (name: string, currency: string): ProviderChoice => ({
  name,
  takesPhone: name !== "bkash",
  isSandbox: false,
  ...operatorOf(name, currency),
});

export const shop = {
  name: "Mama Mboga Fresh Produce",
  colour: "#0b5fa5",
  contact: "+254 712 345 678",
};

/** An open link over KES 1,500 with one provider. `change` replaces parts of the view. */
export const viewOf = (change: Partial<CheckoutView> = {}): CheckoutView => ({
  shop,
  lang: "en",
  paymentLink: {
    description: "Vegetable box, delivery on Friday",
    currency: "KES",
    amountMinor: 150_000,
    status: "open",
    isReusable: false,
  },
  providers: [choice("daraja", "KES")],
  canPay: true,
  actionPath: "/pay/token",
  nonce: "",
  ...change,
});

const minutes = (count: number): string => new Date(Date.now() + count * 60_000).toISOString();

/** The order of the link, in this state. Half an hour is left to pay, because a test may run minutes after this. */
export function orderOf(change: Partial<StatusEvent>, payment: Partial<StatusEvent["payment"]> = {}): StatusEvent {
  const base = eventOf({
    id: "one",
    version: 3,
    live: true,
    amountMinor: 150_000,
    openedAt: minutes(-1),
    occurredAt: minutes(-0.1),
  });
  return {
    ...base,
    ...change,
    payment: { ...base.payment, startedAt: minutes(-0.2), expiresAt: minutes(30), ...payment },
  };
}

const prompt = { type: "prompt", phone: "+2547*****678" } as const;
const watch = { orderId: "ORD-one", token: "to.k.en" };
const settled = (status: StatusEvent["status"], reason?: StatusEvent["reason"]): StatusEvent =>
  orderOf({ status, settled: true, ...(reason && { reason }) });

const waiting = (order: StatusEvent): Partial<CheckoutView> => ({
  order,
  watch,
  canPay: false,
  maskedPhone: prompt.phone,
});
const after = (order: StatusEvent): Partial<CheckoutView> => ({ order, watch, canPay: true });

const paid = orderOf(
  {
    status: "succeeded",
    settled: true,
    results: [
      {
        id: "t",
        kind: "ticket",
        title: "Nairobi Jazz Night, 1 seat",
        code: "NJN-4F7K-22QX",
        expiresAt: "2027-01-31T18:00:00Z",
      },
      { id: "l", kind: "link", title: "Your receipt", url: "https://shop.example/receipts/4711" },
      {
        id: "x",
        kind: "text",
        title: "Delivery",
        text: "Friday between 8 and 10 o’clock.\nPlease have the gate open.",
      },
    ],
  },
  { receipt: "SLK4H7R6T2" },
);

const items = [
  { name: "Sukuma wiki, bunch", quantity: 4, unitAmountMinor: 5_000 },
  { name: "Tomatoes, 1 kg", quantity: 2, unitAmountMinor: 40_000 },
  { name: "Delivery to Kilimani", quantity: 1, unitAmountMinor: 50_000 },
];

const open = viewOf().paymentLink;
const { amountMinor: _amount, ...withoutAmount } = open;

const mixed: ProviderChoice[] = [
  ...["daraja", "payhero"].map((name) => choice(name, "KES")),
  { name: "mtn", takesPhone: true, callingCode: "256", prefixes: ["76", "77", "78"] },
  choice("bkash", "BDT"),
];

/** Every state of the page, by name. */
export const states: Readonly<Record<string, Partial<CheckoutView>>> = {
  choose: { returnUrl: "https://shop.example/" },
  items: { paymentLink: { ...open, items, expiresAt: "2027-01-31T18:00:00Z" } },
  instalment: { paymentLink: { ...open, part: { n: 2, count: 3 } }, planPath: "../plan/token" },
  "many-items": { paymentLink: { ...open, items: [...items, ...items] } },
  providers: { providers: mixed, paymentLink: { ...open, expiresAt: "2027-01-31T18:00:00Z" } },
  sandbox: { providers: [{ ...choice("daraja", "KES"), isSandbox: true }] },
  amount: { paymentLink: { ...withoutAmount, minMinor: 5_000, maxMinor: 2_000_000, isReusable: true } },
  "wrong-phone": { fault: { field: "phone", code: "phone_invalid", values: { provider: "daraja", phone: "0712 34" } } },
  "wrong-amount": {
    paymentLink: { ...withoutAmount, minMinor: 5_000, maxMinor: 2_000_000, isReusable: true },
    fault: { field: "amount", code: "amount_invalid", values: { phone: "0712 345 678", amount: "20" } },
  },
  "too-often": {
    fault: { field: "phone", code: "rate_limited", retryAfterS: 2_300, values: { phone: "0712 345 678" } },
  },
  "provider-down": { fault: { code: "provider_unavailable", values: { provider: "daraja", phone: "0712 345 678" } } },
  pending: waiting(orderOf({ status: "pending" })),
  prompt: waiting(orderOf({}, { action: prompt })),
  "no-prompt": waiting(orderOf({ occurredAt: minutes(-0.5) }, { action: prompt, startedAt: minutes(-0.6) })),
  redirect: waiting(
    orderOf({}, { provider: "bkash", action: { type: "redirect", url: "https://provider.example/pay" } }),
  ),
  elsewhere: { order: orderOf({}), canPay: false },
  "failed-elsewhere": { order: settled("failed"), canPay: true },
  "review-elsewhere": { order: settled("review"), canPay: false },
  ...Object.fromEntries(
    (
      [
        "cancelled",
        "insufficient_funds",
        "wrong_pin",
        "declined",
        "limit",
        "busy",
        "provider_error",
        "rejected",
      ] as const
    ).map((reason) => [`failed-${reason}`, after(settled("failed", reason))]),
  ),
  expired: after(orderOf({ status: "expired", settled: true, reason: "deadline" })),
  "no-response": after(settled("expired", "no_response")),
  paid: { ...waiting(paid), returnUrl: "https://shop.example/done" },
  "paid-instalment": {
    ...waiting(orderOf({ status: "succeeded", settled: true }, { receipt: "SLK4H7R6T2" })),
    paymentLink: { ...open, part: { n: 14 } },
    planPath: "../plan/token",
  },
  "paid-again": {
    ...waiting(orderOf({ status: "succeeded", settled: true }, { receipt: "SLK4H7R6T2" })),
    againPath: "?again=1",
  },
  "paid-elsewhere": { order: settled("succeeded"), canPay: false },
  review: waiting(
    orderOf(
      { status: "review", settled: true, reason: "amount_mismatch" },
      { amountPaidMinor: 140_000, receipt: "SLK4H7R6T2" },
    ),
  ),
  cancelled: { canPay: false, paymentLink: { ...open, status: "cancelled" } },
  "link-expired": { canPay: false, paymentLink: { ...open, status: "expired" } },
  unavailable: { canPay: false, providers: [] },
};

/** The address in the QR code of the page to print. */
export const linkUrl = "https://pay.example/pay/3q2-7wAAAAAAAAAAAAAAAQ";

/** What a browser asked for. */
export interface CheckoutRequest {
  /** The last part of the path. */
  name: string;
  lang: CheckoutView["lang"];
  /** The form that it sent. */
  form: URLSearchParams | undefined;
}

export interface CheckoutServer {
  url: string;
  /** Makes the page. Default: the state that the path names, in the language of the query. After a form: a redirect to the page. */
  view: (request: CheckoutRequest) => Partial<CheckoutView> | undefined;
  /** The forms that were sent. */
  sent: Record<string, string>[];
  /** What a watch receives: each newer version at once. */
  current: StatusEvent | undefined;
}

/** Serves the page and its scripts, and answers its watch with a long poll. Closes when the test is over. */
export async function startCheckout(): Promise<CheckoutServer> {
  const app = Fastify({ forceCloseConnections: true });
  const server: CheckoutServer = { url: "", view: ({ name }) => states[name], sent: [], current: undefined };
  app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) =>
    done(null, new URLSearchParams(String(body))),
  );
  assetRoute(app, pageFilesPath, findPageFile);
  sdkRoutes(app);
  addPages(app, server);
  app.get<{ Querystring: { after: string } }>("/v1/orders/:id/wait", async ({ query }) => {
    await vi.waitUntil(() => server.current && String(server.current.version) !== query.after, {
      timeout: 20_000,
      interval: 20,
    });
    return { ...server.current, sentAt: new Date().toISOString() };
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  onTestFinished(() => app.close());
  server.url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  return server;
}

function addPages(app: FastifyInstance, server: CheckoutServer): void {
  const sendView = (
    request: FastifyRequest<Page>,
    reply: FastifyReply,
    form?: URLSearchParams,
  ): Promise<FastifyReply> => {
    const { lang = "en" } = request.query;
    const { name } = request.params;
    const nonce = randomBytes(16).toString("base64url");
    const change = server.view({ name, lang, form });
    const html = change
      ? renderCheckout(viewOf({ lang, actionPath: request.url, nonce, ...change }))
      : renderUnknownLink({ shop, lang, nonce });
    return sendPrivatePage(request, reply.code(change ? 200 : 404), {
      html,
      shop: { ...shop, ...change?.shop },
      nonce,
    });
  };
  app.get<Page>("/pay/:name", (request, reply) => sendView(request, reply));
  app.post<Page>("/pay/:name", (request, reply) => {
    const form = request.body as URLSearchParams;
    server.sent.push(Object.fromEntries(form));
    const change = server.view({ name: request.params.name, lang: "en", form });
    return change?.fault ? sendView(request, reply, form) : reply.redirect(request.url, 303);
  });
  app.get<Page>("/pay/:name/print", (request, reply) => {
    const { lang = "en" } = request.query;
    const nonce = randomBytes(16).toString("base64url");
    const { description = "" } = viewOf().paymentLink;
    const html = renderPrintPage(
      { shop, lang, nonce, url: linkUrl, amountText: "KES 1,500.00", description },
      qrSvg(linkUrl),
    );
    return sendPrivatePage(request, reply, { html, shop, nonce });
  });
}

type Page = { Params: { name: string }; Querystring: { lang?: CheckoutView["lang"] } };
