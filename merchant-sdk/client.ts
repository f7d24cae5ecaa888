/** The client of the API for merchants. Each method is one call, with the types of the API docs. */
import { randomUUID } from "node:crypto";
import createApi, { type Client as Api } from "openapi-fetch";
import { type Caller, type CallOptions, type CreateOptions, createCaller, type Init } from "./call.ts";
import { unreadable } from "./error.ts";
import { type FollowedEvent, type FollowOptions, follow } from "./follow.ts";
import { createKeys, type Keys } from "./key.ts";
import { createList, type List, type Page } from "./list.ts";
import type * as model from "./model.ts";
import { createNotifications, type Notifications } from "./notification.ts";
import { createPlans, type Plans } from "./plan.ts";
import type { paths } from "./schema.ts";

export interface ClientOptions {
  /** The address of the Tukio server. */
  url: string;
  /** The API key. It belongs on your server only. */
  apiKey: string;
  /** The time limit of each attempt. Default: 30 s. */
  timeoutMs?: number;
  /** How often a call that may be repeated is sent again at most. Default: 3. */
  retries?: number;
  /** Replaces `fetch`, for example to use a proxy. */
  fetch?: (request: Request) => Promise<Response>;
}

export interface StartOptions extends CreateOptions {
  /** Waits until the provider has answered, for this many seconds at most, up to 15. */
  waitS?: number | undefined;
}

export interface WaitOptions extends CallOptions {
  /** Waits for a version after this one: a version, or `epoch.version`. Without it, until the order is settled. */
  after?: number | string | undefined;
  /** Seconds until the current state is returned in any case: 1 to 60. Default: 25. */
  timeoutS?: number | undefined;
}

export interface EventPage extends Page<model.OrderEvent> {
  /** The place after this page, to continue later. */
  endCursor: string;
}

export interface Tukio {
  payments: {
    /** Starts a payment for an order: opens the order, or tries again a failed or expired one. */
    start(request: model.PaymentRequest, options?: StartOptions): Promise<model.StartedPayment>;
    /** Lists payments, newest first: every attempt to pay an order. */
    list(filter?: model.PaymentFilter, options?: CallOptions): List<model.ListedPayment>;
    /** Asks the provider about a payment now. */
    ask(paymentId: string, options?: CallOptions): Promise<model.Asked>;
    /** All payments in CSV, as bytes. An incomplete file throws. The time limit is an hour, unless `timeoutMs` is given. */
    export(filter?: model.PaymentExportFilter, options?: CallOptions): Promise<ReadableStream<Uint8Array>>;
  };
  orders: {
    /** Reads an order with its payments and its history. */
    read(orderId: string, options?: CallOptions): Promise<model.Order>;
    /** Lists orders, newest first; with `changedSince`, by change, oldest first. */
    list(filter?: model.OrderFilter, options?: CallOptions): List<model.StatusEvent>;
    /** All orders in CSV, as bytes. An incomplete file throws. The time limit is an hour, unless `timeoutMs` is given. */
    export(filter?: model.OrderExportFilter, options?: CallOptions): Promise<ReadableStream<Uint8Array>>;
    /** Waits for a change of an order, and returns its state. */
    wait(orderId: string, options?: WaitOptions): Promise<model.StatusEvent>;
    /** Decides on a payment in review. */
    resolve(orderId: string, decision: model.Decision, options?: CallOptions): Promise<model.StatusEvent>;
    /** Issues a watch token for the payer's page. */
    issueWatchToken(orderId: string, options?: CallOptions): Promise<model.WatchToken>;
    /** Gives the payer of a paid order a result. The same id again replaces it. Returns the order. */
    putResult(orderId: string, result: model.ResultRequest, options?: CallOptions): Promise<model.StatusEvent>;
    /** Removes a result. Returns the order. */
    removeResult(orderId: string, resultId: string, options?: CallOptions): Promise<model.StatusEvent>;
  };
  /** Webhooks of providers, as they were stored. */
  webhooks: {
    /** Lists webhooks, newest first, with phones, names and secrets masked. */
    list(filter?: model.WebhookFilter, options?: CallOptions): List<model.InboxWebhook>;
    /** Applies an unmatched webhook to the payment to which it belongs. */
    apply(id: number, paymentId: string, options?: CallOptions): Promise<model.AppliedWebhook>;
  };
  reports: {
    /** Adds up the money that moved. */
    summary(filter: model.SummaryFilter, options?: CallOptions): Promise<model.Summary>;
  };
  /** Pages on which payers pay by themselves. */
  paymentLinks: {
    /** Creates a payment link. Give its `url` to the payer. */
    create(request: model.PaymentLinkRequest, options?: CreateOptions): Promise<model.PaymentLink>;
    list(filter?: model.PaymentLinkFilter, options?: CallOptions): List<model.PaymentLink>;
    read(id: string, options?: CallOptions): Promise<model.PaymentLink>;
    cancel(id: string, options?: CallOptions): Promise<model.PaymentLink>;
  };
  /** Instalments and subscriptions. */
  plans: Plans;
  events: {
    /** The history of events, oldest first. Read on later with the `endCursor` of the last page. */
    list(filter?: model.EventFilter, options?: CallOptions): List<model.OrderEvent, EventPage>;
    /** Follows all events live: from `cursor` or `since` on, else from now on. Reconnects, and loses no event. */
    follow(options?: FollowOptions): AsyncIterable<FollowedEvent>;
  };
  endpoints: {
    /** Creates an endpoint. Keep the secret: it is shown only here. */
    create(draft: model.EndpointDraft, options?: CallOptions): Promise<model.EndpointWithSecret>;
    list(options?: CallOptions): Promise<model.Endpoint[]>;
    read(id: string, options?: CallOptions): Promise<model.Endpoint>;
    change(id: string, change: model.EndpointChange, options?: CallOptions): Promise<model.Endpoint>;
    /** Deletes an endpoint with its history. */
    delete(id: string, options?: CallOptions): Promise<void>;
    /** Replaces the secret. Both secrets sign for 24 hours. */
    rotateSecret(id: string, options?: CallOptions): Promise<model.EndpointWithSecret>;
    /** Sends a test message now, and returns the answer. */
    ping(id: string, options?: CallOptions): Promise<model.Ping>;
    /** The attempts of the last 30 days; with `status: "pending"`, what is due. */
    deliveries(id: string, filter?: model.DeliveryFilter, options?: CallOptions): List<model.Delivery>;
    /** Sends the current state of orders again. Returns how many. */
    replay(id: string, request: model.ReplayRequest, options?: CallOptions): Promise<number>;
  };
  /** Receipts, SMS and alerts. */
  notifications: Notifications;
  providers: {
    /** Lists the enabled providers. */
    list(options?: CallOptions): Promise<model.Provider[]>;
    /** Fetches a provider's access token ahead of need. Returns when it expires. */
    fetchToken(provider: model.ProviderName, options?: CallOptions): Promise<model.AccessToken>;
  };
  /** API keys, each for what its scopes allow. */
  keys: Keys;
  /** Examines the server and what it depends on: the findings, each with what to do. Takes up to 10 s. */
  doctor(options?: CallOptions): Promise<model.DoctorReport>;
  /** The payer's phone of the sandbox, and the clock of plans, for your tests. */
  sandbox: {
    /** The open prompts of a phone. */
    prompts(phone: string, options?: CallOptions): Promise<model.Prompt[]>;
    answer(promptId: string, answer: model.PromptAnswer, options?: CallOptions): Promise<void>;
    /** Moves the time of plans by an ISO 8601 duration such as `P1M`. Returns the new time. */
    advanceClock(advance: string, options?: CallOptions): Promise<string>;
  };
}

/** The parts that the calls of all groups share. */
interface Parts extends Caller {
  api: Api<paths>;
  url: string;
}

/** Creates a client. It opens no connection and keeps no state. Throws a `TypeError` for a wrong URL or key. */
export function createTukio({ url, apiKey, timeoutMs = 30_000, retries = 3, fetch }: ClientOptions): Tukio {
  const address = readUrl(url);
  const api = createApi<paths>({
    baseUrl: address,
    headers: { authorization: `Bearer ${readKey(apiKey)}` },
    // The API has no redirects, and a POST that is redirected may become a GET.
    redirect: "manual",
    ...(fetch && { fetch }),
  });
  const parts: Parts = { api, url: address, ...createCaller({ url: address, timeoutMs, retries }) };
  return {
    payments: createPayments(parts),
    orders: createOrders(parts),
    webhooks: createWebhooks(parts),
    reports: createReports(parts),
    paymentLinks: createPaymentLinks(parts),
    plans: createPlans(parts),
    events: createEvents(parts),
    endpoints: createEndpoints(parts),
    notifications: createNotifications(parts),
    providers: createProviders(parts),
    keys: createKeys(parts),
    doctor: (options) => parts.repeat((init) => api.GET("/v1/doctor", { ...init }), options),
    sandbox: createSandbox(parts),
  };
}

function readUrl(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const isAddress = parsed && /^https?:$/.test(parsed.protocol) && !parsed.search && !parsed.hash && !parsed.username;
  if (!isAddress) throw new TypeError("url must be the http(s) address of the Tukio server, without a query");
  return parsed.href.replace(/\/+$/, "");
}

/** Checked here, because the error of `fetch` for a wrong header contains the header. */
function readKey(apiKey: unknown): string {
  if (typeof apiKey === "string" && /^[\x21-\x7e]+$/.test(apiKey)) return apiKey;
  throw new TypeError("apiKey must be the API key: visible ASCII characters without spaces");
}

/** An hour, because the limit includes reading the file. */
const exportMs = 3_600_000;

const createPayments = ({ api, repeat, once }: Parts): Tukio["payments"] => ({
  start(body, { idempotencyKey = randomUUID(), waitS, ...options } = {}) {
    const header = { "Idempotency-Key": idempotencyKey, ...(waitS !== undefined && { Prefer: `wait=${waitS}` }) };
    return repeat((init) => api.POST("/v1/payments", { ...init, params: { header }, body }), options);
  },
  list: (filter = {}, options) =>
    createList((cursor) => {
      const params = { query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/payments", { ...init, params }), options);
    }, filter.cursor),
  ask(id, options) {
    const params = { path: { id } };
    return once((init) => api.POST("/v1/payments/{id}/ask", { ...init, params }), options);
  },
  export(query = {}, options) {
    const call = (init: Init) => api.GET("/v1/payments.csv", { ...init, params: { query }, parseAs: "stream" });
    return repeat(call, { timeoutMs: exportMs, ...options }) as Promise<ReadableStream<Uint8Array>>;
  },
});

const createOrders = ({ api, repeat, once, url }: Parts): Tukio["orders"] => ({
  async read(orderId, options) {
    const params = { path: { orderId } };
    const found = await repeat((init) => api.GET("/v1/orders/{orderId}", { ...init, params }), options);
    // The other form is the answer to a watch token.
    if (!("payments" in found)) throw unreadable(url);
    return found;
  },
  list: (filter = {}, options) =>
    createList((cursor) => {
      const params = { query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/orders", { ...init, params }), options);
    }, filter.cursor),
  export(query = {}, options) {
    const call = (init: Init) => api.GET("/v1/orders.csv", { ...init, params: { query }, parseAs: "stream" });
    return repeat(call, { timeoutMs: exportMs, ...options }) as Promise<ReadableStream<Uint8Array>>;
  },
  wait(orderId, { after, timeoutS = 25, timeoutMs = timeoutS * 1_000 + 10_000, ...options } = {}) {
    const query = { timeout: timeoutS, ...(after !== undefined && { after: String(after) }) };
    const params = { path: { orderId }, query };
    return repeat((init) => api.GET("/v1/orders/{orderId}/wait", { ...init, params }), { ...options, timeoutMs });
  },
  async resolve(orderId, body, options) {
    const params = { path: { orderId } };
    const call = (init: Init) => api.POST("/v1/orders/{orderId}/resolve", { ...init, params, body });
    return (await once(call, options)).order;
  },
  issueWatchToken(orderId, options) {
    const params = { path: { orderId } };
    return repeat((init) => api.POST("/v1/orders/{orderId}/watch-tokens", { ...init, params }), options);
  },
  async putResult(orderId, body, options) {
    const params = { path: { orderId } };
    const call = (init: Init) => api.POST("/v1/orders/{orderId}/results", { ...init, params, body });
    return (await repeat(call, options)).order;
  },
  async removeResult(orderId, resultId, options) {
    const params = { path: { orderId, resultId } };
    const call = (init: Init) => api.DELETE("/v1/orders/{orderId}/results/{resultId}", { ...init, params });
    return (await once(call, options)).order;
  },
});

const createWebhooks = ({ api, repeat, once }: Parts): Tukio["webhooks"] => ({
  list: (filter = {}, options) =>
    createList((cursor) => {
      const params = { query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/webhooks", { ...init, params }), options);
    }, filter.cursor),
  apply(id, paymentId, options) {
    const params = { path: { id } };
    return once((init) => api.POST("/v1/webhooks/{id}/apply", { ...init, params, body: { paymentId } }), options);
  },
});

const createReports = ({ api, repeat }: Parts): Tukio["reports"] => ({
  summary: (query, options) =>
    repeat((init) => api.GET("/v1/reports/summary", { ...init, params: { query } }), options),
});

const createPaymentLinks = ({ api, repeat, once }: Parts): Tukio["paymentLinks"] => ({
  async create(body, { idempotencyKey = randomUUID(), ...options } = {}) {
    const params = { header: { "Idempotency-Key": idempotencyKey } };
    return (await repeat((init) => api.POST("/v1/payment-links", { ...init, params, body }), options)).paymentLink;
  },
  list: (filter = {}, options) =>
    createList((cursor) => {
      const params = { query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/payment-links", { ...init, params }), options);
    }, filter.cursor),
  async read(id, options) {
    const params = { path: { id } };
    return (await repeat((init) => api.GET("/v1/payment-links/{id}", { ...init, params }), options)).paymentLink;
  },
  async cancel(id, options) {
    const params = { path: { id } };
    return (await once((init) => api.POST("/v1/payment-links/{id}/cancel", { ...init, params }), options)).paymentLink;
  },
});

const createEvents = ({ api, repeat, url }: Parts): Tukio["events"] => ({
  list: (filter = {}, options) =>
    createList((cursor) => {
      const params = { query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/events", { ...init, params }), options) as Promise<EventPage>;
    }, filter.cursor),
  follow: (options = {}) =>
    follow(
      ({ query, lastEventId }, init) =>
        api.GET("/v1/events", {
          ...init,
          parseAs: "stream",
          headers: { accept: "text/event-stream" },
          params: { query, header: lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId } },
        }),
      url,
      options,
    ),
});

const createEndpoints = ({ api, repeat, once }: Parts): Tukio["endpoints"] => ({
  create: (body, options) => once((init) => api.POST("/v1/endpoints", { ...init, body }), options),
  list: async (options) => (await repeat((init) => api.GET("/v1/endpoints", { ...init }), options)).data,
  async read(id, options) {
    const params = { path: { id } };
    return (await repeat((init) => api.GET("/v1/endpoints/{id}", { ...init, params }), options)).endpoint;
  },
  async change(id, body, options) {
    const params = { path: { id } };
    return (await once((init) => api.PATCH("/v1/endpoints/{id}", { ...init, params, body }), options)).endpoint;
  },
  delete(id, options) {
    const params = { path: { id } };
    return once((init) => api.DELETE("/v1/endpoints/{id}", { ...init, params }), options);
  },
  rotateSecret(id, options) {
    const params = { path: { id } };
    return once((init) => api.POST("/v1/endpoints/{id}/rotate-secret", { ...init, params }), options);
  },
  ping(id, options) {
    const params = { path: { id } };
    return once((init) => api.POST("/v1/endpoints/{id}/ping", { ...init, params }), options);
  },
  deliveries: (id, filter = {}, options) =>
    createList((cursor) => {
      const params = { path: { id }, query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/endpoints/{id}/deliveries", { ...init, params }), options);
    }, filter.cursor),
  async replay(id, body, options) {
    const params = { path: { id } };
    return (await once((init) => api.POST("/v1/endpoints/{id}/replay", { ...init, params, body }), options)).count;
  },
});

const createProviders = ({ api, repeat, once }: Parts): Tukio["providers"] => ({
  list: async (options) => (await repeat((init) => api.GET("/v1/providers", { ...init }), options)).data,
  fetchToken(provider, options) {
    const params = { path: { provider } };
    return once((init) => api.POST("/v1/providers/{provider}/token", { ...init, params }), options);
  },
});

const createSandbox = ({ api, repeat, once }: Parts): Tukio["sandbox"] => ({
  async prompts(msisdn, options) {
    const params = { path: { msisdn } };
    return (await repeat((init) => api.GET("/sandbox/phone/{msisdn}/prompts", { ...init, params }), options)).prompts;
  },
  async answer(id, answer, options) {
    const params = { path: { id } };
    await once((init) => api.POST("/sandbox/phone/prompts/{id}", { ...init, params, body: { answer } }), options);
  },
  async advanceClock(advance, options) {
    return (await once((init) => api.POST("/sandbox/clock", { ...init, body: { advance } }), options)).now;
  },
});
