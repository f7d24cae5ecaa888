/**
 * Compares the OpenAPI document with the node that serves it: its routes, its requests, its answers. Not covered: the details of
 * problems with status 500 and 503, and the return URL, which needs a provider that redirects.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Validator } from "@seriousme/openapi-schema-validator";
import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { reasons } from "../../client-sdk/protocol.ts";
import { commonProblems } from "../../server/api-docs/openapi.ts";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { createWatchTokens } from "../../server/auth/watch-token.ts";
import { openDatabase } from "../../server/database/pool.ts";
import { type ErrorCode, errorTable } from "../../server/errors.ts";
import { createReceiptToken } from "../../server/notification/receipt-token.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, paymentBody, startNode, type TestNode, testSecret } from "../support/node.ts";
import {
  addressOf,
  createCaller,
  createCheck,
  type Listed,
  listOperations,
  type OpenApiDocument,
  type Sent,
} from "../support/openapi.ts";
import { createLink, linkBody } from "../support/payment-link.ts";
import { changePlan, createPlan, inDays, planBody } from "../support/plan.ts";
import { collectRoutes } from "../support/routes.ts";
import { nextOrderId } from "../support/store.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/** The document of a node that serves every route. */
const file = new URL("../../docs/openapi.json", import.meta.url);
const whole: OpenApiDocument = JSON.parse(readFileSync(file, "utf8"));

const routeOf = ({ method, url }: { method: string; url: string }): string => `${method} ${url}`;

interface ToldSchema {
  description?: string;
  properties?: Record<string, ToldSchema>;
}

interface ListSchema {
  properties: { data: { items: { properties: Record<string, ToldSchema> } } };
}

const documentOf = async (node: TestNode): Promise<OpenApiDocument> =>
  (await call(`${node.url}/openapi.json`)).body as unknown as OpenApiDocument;

/** Starts a node and returns its routes, without those of sandboxes, those for unknown URLs, and those for Tukio's own pages. */
async function startListed(env: Record<string, string> = {}): Promise<{ node: TestNode; registered: string[] }> {
  const { started: node, routes } = await collectRoutes(() => startNode({ databaseUrl, env }));
  // Without the routes with a slash at the end, which webhooks and returns have too.
  const isPublic = (route: string): boolean =>
    !/^(HEAD|OPTIONS) |\/\*$|\/sandbox\/(?!phone|clock|inbox(\.json)?$)|^POST \/sandbox\/inbox$|\/(docs|shop|page|checkout|desk\/assets)\/|\/favicon\.ico$|^\w+ \/(webhooks|return)\/.*\/$/.test(
      route,
    );
  return { node, registered: routes.map(routeOf).filter(isPublic) };
}

/** The schedule of a plan after the time to which the requests of the document move the clock. */
const latePlan = { amountMinor: 10_000, every: { months: 1 }, count: 3, firstDueAt: inDays(4_000) };

const documented = (document: OpenApiDocument): string[] =>
  listOperations(document).map(({ method, path }) => routeOf({ method, url: path.replace(/\{(\w+)\}/g, ":$1") }));

/** The examples of a part of the document that has a schema. */
function examplesOf(part: { schema?: object; example?: unknown; examples?: object }): unknown[] {
  const { schema, example, examples = {} } = part;
  if (!schema) return [];
  const named = Object.values(examples).map(({ $ref, value }) =>
    $ref ? whole.components.examples[$ref.split("/").at(-1)]?.value : value,
  );
  return example === undefined ? named : [...named, example];
}

describe("the OpenAPI document", () => {
  it("is valid OpenAPI 3.1 according to the official schema", async () => {
    expect(await new Validator().validate({ ...whole })).toMatchObject({ valid: true });
  });

  it("is the one in docs/, which `-u` writes", async () => {
    const document = await documentOf(await startNode({ databaseUrl }));
    await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot(fileURLToPath(file));
  });

  it("describes the id in a path by what it names", () => {
    const described = Object.fromEntries(
      listOperations(whole).flatMap(({ path, parameters = [] }) =>
        parameters.flatMap(({ in: place, name, description }) =>
          place === "path" && name === "id" ? [[path, description]] : [],
        ),
      ),
    );
    expect(described["/sandbox/phone/prompts/{id}"]).toBe("The prompt.");
    for (const path of Object.keys(described).filter((one) => one.startsWith("/v1/endpoints/")))
      expect([path, described[path]]).toEqual([path, "The endpoint."]);
    expect(Object.keys(described).length).toBeGreaterThan(5);
  });

  it("has the server of PUBLIC_URL, or else the node itself", async () => {
    const node = await startNode({ databaseUrl, env: { PUBLIC_URL: "https://pay.shop.example" } });
    expect((await documentOf(node)).servers).toEqual([{ url: "https://pay.shop.example" }]);
    expect(whole.servers).toEqual([{ url: ".", description: "This node" }]);
  });

  it("describes every route of the node, and no others", async () => {
    const { node, registered } = await startListed();
    expect(documented(await documentOf(node)).toSorted()).toEqual(registered.toSorted());
  });

  it("omits the sandbox on a node without one", async () => {
    const { node, registered } = await startListed({ SANDBOX: "" });
    const document = await documentOf(node);
    expect(documented(document).toSorted()).toEqual(registered.toSorted());
    expect(JSON.stringify([document.tags, Object.keys(document.paths)])).not.toMatch(/sandbox/i);
  });

  it("has an example of every request and answer that fits its schema", () => {
    const check = createCheck(whole);
    let count = 0;
    const visit = (value: unknown, pointer: string[]): void => {
      if (typeof value !== "object" || value === null) return;
      for (const example of examplesOf(value)) {
        check([...pointer, "schema"], example);
        count += 1;
      }
      for (const [key, inner] of Object.entries(value)) if (key !== "schema") visit(inner, [...pointer, key]);
    };
    visit(whole.paths, ["paths"]);
    expect(count).toBeGreaterThan(100);
  });

  it("has an example of every code, and uses every code", () => {
    expect(Object.keys(whole.components.examples)).toEqual(Object.keys(errorTable));
    expect(Object.keys(whole.components.responses)).toEqual(commonProblems);
    const shown = listOperations(whole).flatMap(({ responses }) =>
      Object.values(responses).flatMap(({ content }) =>
        Object.keys(content?.["application/problem+json"]?.examples ?? {}),
      ),
    );
    expect([...new Set([...commonProblems, ...shown])].toSorted()).toEqual(Object.keys(errorTable).toSorted());
  });
});

describe("the texts of the OpenAPI document", () => {
  it("explain each code as the table of errors does", () => {
    for (const [code, { value }] of Object.entries(whole.components.examples)) {
      expect(value).toMatchObject({ code, title: errorTable[code as ErrorCode].title });
    }
    const ofOperations = listOperations(whole).flatMap(({ responses }) => Object.values(responses));
    const descriptions = [...ofOperations, ...Object.values(whole.components.responses)];
    for (const [code, { title, retryable }] of Object.entries(errorTable)) {
      expect(JSON.stringify(descriptions)).toContain(JSON.stringify(`\`${code}\`: ${title}`).slice(1, -1));
      expect(title.endsWith("; try again later")).toBe(retryable);
    }
  });

  it("explain each reason in a line, here and in the AsyncAPI document", async () => {
    const node = await startNode({ databaseUrl });
    const beside = (await call(`${node.url}/asyncapi.json`)).body as unknown as OpenApiDocument;
    for (const { schemas } of [whole.components, beside.components]) {
      const { description = "" } = schemas.Reason as { description?: string };
      const lines = description.split("\n").filter((line) => line.startsWith("- "));
      expect(lines.map((line) => /^- `(\w+)`: \S.+[^.]$/.exec(line)?.[1])).toEqual([...reasons]);
    }
  });

  it("tell the actions apart by their type, and tell clients to accept others", async () => {
    const node = await startNode({ databaseUrl });
    const beside = (await call(`${node.url}/asyncapi.json`)).body as unknown as OpenApiDocument;
    const names = { prompt: "PromptAction", redirect: "RedirectAction" };
    const references = Object.entries(names).map(([type, name]) => [type, `#/components/schemas/${name}`]);
    for (const { schemas } of [whole.components, beside.components]) {
      const { oneOf, description } = schemas.Action as { oneOf?: unknown; description?: string };
      expect(oneOf).toEqual(references.map(([, $ref]) => ({ $ref })));
      expect(description).toContain("New types may be added");
    }
    expect(whole.components.schemas.Action).toMatchObject({
      discriminator: { propertyName: "type", mapping: Object.fromEntries(references) },
    });
    // In AsyncAPI, `discriminator` is the name of a property.
    expect(beside.components.schemas.Action).not.toHaveProperty("discriminator");
  });

  it("give each operation its own summary", () => {
    const summaries = listOperations(whole).map(({ summary }) => summary);
    expect(new Set(summaries).size).toBe(summaries.length);
  });

  it("explain which calls and which time a provider's statistics cover", () => {
    const { properties } = (whole.components.schemas.ProviderList as ListSchema).properties.data.items;
    for (const [name, property] of Object.entries(properties)) {
      if (!["name", "live"].includes(name)) expect(property.description, name).toBeTruthy();
    }
    const { calls, succeededShare } = properties;
    expect(calls?.description).toMatch(/from all nodes.*15 min.*5 s late/);
    expect(succeededShare?.description).toMatch(/24 h, on any node.*person's decision/);
    for (const verb of Object.values(calls?.properties ?? {})) {
      for (const figure of [verb, ...Object.values(verb.properties ?? {})]) expect(figure.description).toBeTruthy();
    }
    expect(Object.keys(calls?.properties ?? {})).toEqual(["initiate", "complete", "confirm", "token"]);
  });
});

describe("the requests of the OpenAPI document", () => {
  let node: TestNode;
  let document: OpenApiDocument;
  let send: ReturnType<typeof createCaller>;
  beforeEach(async () => {
    node = await startNode({ databaseUrl, env: { LIMIT_PHONE: "1000", LIMIT_IP: "100000" } });
    document = await documentOf(node);
    send = createCaller(node.url, document);
  });

  /** Opens a payment whose prompt is not answered. */
  const open = async (): Promise<Record<string, string>> => {
    const { order, watchToken } = await pay(node);
    return { orderId: order.orderId, paymentId: order.payment.id, token: watchToken };
  };

  /** Opens a payment that is paid with another amount. */
  const openInReview = async (): Promise<Record<string, string>> => {
    const { order } = await pay(node, { phone: "+254712345610" });
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}/wait?timeout=10`);
    expect(body.status).toBe("review");
    return { orderId: order.orderId, paymentId: order.payment.id };
  };

  const openPaid = async (fields: object = {}): Promise<Record<string, string>> => {
    const { order } = await pay(node, { phone: "+254712345601", ...fields });
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}/wait?timeout=10`);
    expect(body.status).toBe("succeeded");
    return { orderId: order.orderId, paymentId: order.payment.id };
  };

  /** Stores a webhook that names no payment and proves nothing. */
  const openUnmatched = async (): Promise<Record<string, string>> => {
    const { paymentId = "" } = await openPaid();
    const database = openDatabase(databaseUrl, () => undefined);
    const { rows } = await database.pool.query(
      "insert into webhook (provider, proof, result, headers, body) values ('daraja', 'none', 'unmatched', '{}', '{}') returning id",
    );
    await database.close();
    return { id: String(rows[0].id), paymentId };
  };

  const openWithResult = async (): Promise<Record<string, string>> => {
    const { orderId = "" } = await openPaid();
    const result = { id: "text", kind: "text", title: "Collect it", text: "Counter 3" };
    await asMerchant(node, `/v1/orders/${orderId}/results`, result);
    return { orderId, resultId: result.id };
  };

  const openWithSecret = async (): Promise<Record<string, string>> => {
    const { paymentId = "", ...names } = await open();
    return { ...names, secret: createUrlSecrets([testSecret], "webhook").seal("daraja", paymentId) };
  };

  const openWithPrompt = async (): Promise<Record<string, string>> => {
    const phone = `2547${String(process.hrtime.bigint()).slice(-6)}00`;
    await asMerchant(node, "/v1/payments", paymentBody({ phone: `+${phone}` }), { prefer: "wait=5" });
    const { body } = await call(`${node.url}/sandbox/phone/${phone}/prompts`);
    return { msisdn: phone, id: String(body.prompts[0]?.id) };
  };

  const createEndpoint = async (): Promise<Record<string, string>> => {
    const { body } = await asMerchant(node, "/v1/endpoints", { url: "https://shop.example.com/" });
    return { id: (body as unknown as { endpoint: { id: string } }).endpoint.id };
  };

  const openReceipt = async (): Promise<Record<string, string>> => {
    const { orderId = "" } = await openPaid();
    const database = openDatabase(databaseUrl, () => undefined);
    onTestFinished(database.close);
    const { body } = await asMerchant(node, `/v1/orders/${orderId}`);
    return { token: await createReceiptToken(database.pool, body.order.id) };
  };

  const createPaymentLink = async (): Promise<Record<string, string>> => {
    const { id, url } = await createLink(node);
    return { id, token: url.slice(-24) };
  };

  const createKey = async (): Promise<Record<string, string>> => {
    const { body } = await asMerchant(node, "/v1/keys", { name: "a shop", scopes: ["read"] });
    return { id: (body as unknown as { key: { id: string } }).key.id };
  };

  const openSession = async (): Promise<Record<string, string>> => {
    const { headers } = await asMerchant(node, "/desk/session", { key: apiKey });
    return { cookie: headers.get("set-cookie")?.split(";")[0] ?? "" };
  };

  const createOnePlan = async (): Promise<Record<string, string>> => {
    const { planId, url = "" } = await createPlan(node, { schedule: latePlan });
    return { planId, token: url.slice(-24) };
  };

  /** Prepares what an operation needs. The other operations need an open order. */
  const preparations: Record<string, () => Promise<Record<string, string>>> = {
    startPayment: async () => ({}),
    resolveReview: openInReview,
    askProvider: async () => ({ id: (await openPaid()).paymentId ?? "" }),
    applyWebhook: openUnmatched,
    putResult: () => openPaid(),
    sendNotification: async () => ({
      ...(await openPaid({ customer: { email: "asha@example.com" } })),
      name: "receipt",
    }),
    testNotification: async () => ({ name: "sms" }),
    openReceipt,
    revokeKey: createKey,
    signIn: async () => ({ key: apiKey }),
    readSession: openSession,
    signOut: openSession,
    removeResult: openWithResult,
    receiveWebhook: openWithSecret,
    receivePutWebhook: openWithSecret,
    listPrompts: openWithPrompt,
    answerPrompt: openWithPrompt,
    ...Object.fromEntries(
      [
        "readEndpoint",
        "changeEndpoint",
        "deleteEndpoint",
        "rotateSecret",
        "pingEndpoint",
        "listDeliveries",
        "replayEndpoint",
      ].map((operationId) => [operationId, createEndpoint]),
    ),
    createPlan: async () => ({ planId: nextOrderId() }),
    ...Object.fromEntries(
      ["readPlan", "pausePlan", "resumePlan", "cancelPlan", "payPlan", "openPlanPage"].map((operationId) => [
        operationId,
        createOnePlan,
      ]),
    ),
    createPaymentLink: async () => ({}),
    ...Object.fromEntries(
      [
        "readPaymentLink",
        "cancelPaymentLink",
        "readPaymentLinkQrSvg",
        "readPaymentLinkQrPng",
        "openPaymentPage",
        "printPaymentPage",
      ].map((operationId) => [operationId, createPaymentLink]),
    ),
  };

  const sentOf = (operation: Listed, names: Record<string, string>, example: unknown): Sent => {
    const valuesOf = (place: string): Record<string, string> =>
      Object.fromEntries(
        (operation.parameters ?? [])
          .filter((parameter) => parameter.in === place && parameter.example !== undefined)
          .map(({ name, example }) => [name, String(example)]),
      );
    const body = example as Record<string, unknown> | undefined;
    return {
      names,
      query: valuesOf("query"),
      headers: valuesOf("header"),
      ...(body && {
        body: Object.fromEntries(Object.entries(body).map(([key, value]) => [key, names[key] ?? value])),
      }),
    };
  };

  const bearing = (operation: Listed, { token, cookie }: Record<string, string>): Record<string, string>[] =>
    operation.security.map((scheme) => {
      if ("deskSession" in scheme) return { cookie: String(cookie), origin: node.url };
      if ("apiKey" in scheme) return { authorization: `Bearer ${apiKey}` };
      return "watchToken" in scheme ? { authorization: `Bearer ${token}` } : { token: String(token) };
    });

  it("succeed with its examples and every kind of credential, and get the described answers", async () => {
    // A test below covers the upgrade. No provider of these nodes has account-wide webhooks or redirects the payer.
    // The forms of the pages are no JSON.
    const skipped = ["openSocket", "receiveAccountWebhook", "recordReturn", "payOnPage", "paySeveralOnPlanPage"];
    for (const operation of listOperations(document).filter(({ operationId }) => !skipped.includes(operationId))) {
      const examples = Object.values(operation.requestBody?.content["application/json"]?.examples ?? { none: {} });
      for (const [index, { value }] of examples.entries()) await sendWithEachCredential(operation, index, value);
    }
  });

  /** Sends one example of an operation with each credential that the operation accepts. */
  async function sendWithEachCredential(
    operation: ReturnType<typeof listOperations>[number],
    index: number,
    value: unknown,
  ): Promise<void> {
    const names = await (preparations[operation.operationId] ?? open)();
    const credentials = bearing(operation, names);
    for (const { token, ...headers } of credentials.length > 0 ? credentials : [{}]) {
      const sent = sentOf(operation, names, value);
      const answer = await send(operation.operationId, {
        ...sent,
        query: { ...sent.query, ...(token !== undefined && { token }) },
        // Only the first example has an idempotency key, because a key is valid for one body.
        headers: { ...(index === 0 && sent.headers), ...headers },
      });
      expect(answer.status, `${operation.operationId} ${JSON.stringify(answer.body)}`).toBeLessThan(300);
    }
  }

  it("include the upgrade to a WebSocket", async () => {
    const operation = listOperations(document).find(({ operationId }) => operationId === "openSocket");
    if (!operation) throw new Error("no WebSocket");
    const { orderId = "", token = "" } = await open();
    const socket = new WebSocket(node.url.replace("http", "ws") + addressOf(operation, { orderId }, { token }));
    onTestFinished(() => socket.terminate());
    const status = await new Promise((resolve, reject) => {
      socket.once("upgrade", ({ statusCode }) => resolve(String(statusCode)));
      socket.once("error", reject);
    });
    expect(Object.keys(operation.responses)).toContain(status);
  });

  it("get the described headers", async () => {
    const body = paymentBody();
    const headers = { authorization: `Bearer ${apiKey}`, "idempotency-key": "twice", prefer: "wait=5" };
    const first = await send("startPayment", { body, headers });
    expect(first.headers.get("preference-applied")).toBe("wait=5");
    expect(first.headers.get("cache-control")).toBe("no-store");
    const second = await send("startPayment", { body, headers });
    expect(second.headers.get("idempotency-replayed")).toBe("true");
  });

  it("get a described problem with the right code if they are refused", async () => {
    const key = { authorization: `Bearer ${apiKey}` };
    const opened = await open();
    const inReview = await openInReview();
    const paid = await openPaid();
    const { secret = "" } = await openWithSecret();
    const created = await asMerchant(node, "/v1/keys", { name: "a reader", scopes: ["read"] });
    const reader = { authorization: `Bearer ${(created.body as unknown as { secret: string }).secret}` };
    const expired = createWatchTokens([testSecret], -60).issue({
      id: opened.paymentId ?? "",
      orderId: opened.orderId ?? "",
    });
    const plan = await createOnePlan();
    await changePlan(node, plan.planId ?? "", "cancel");
    await createLink(node, { orderId: "TAKEN-2" });
    const start = (fields: Record<string, unknown>): Sent => ({ headers: key, body: paymentBody(fields) });
    const unknown = { names: { orderId: "ORD-nowhere" }, headers: key };
    const decision = { as: "failed", note: "no money came" };
    const result = { id: "text", kind: "text", title: "Collect it", text: "Counter 3" };
    await send("startPayment", { ...start({ orderId: "once" }), headers: { ...key, "idempotency-key": "once" } });

    const refusals: [string, ErrorCode, Sent][] = [
      ["startPayment", "amount_invalid", start({ amountMinor: 50 })],
      ["startPayment", "currency_invalid", start({ currency: "USD" })],
      ["startPayment", "phone_invalid", start({ phone: "12" })],
      ["startPayment", "body_invalid", start({ surplus: true })],
      ["startPayment", "body_invalid", { headers: key, body: "{]" }],
      ["startPayment", "body_too_large", { headers: key, body: JSON.stringify("x".repeat(70_000)) }],
      ["startPayment", "key_invalid", { body: paymentBody() }],
      ["startPayment", "provider_unknown", start({ provider: "nobody" })],
      ["startPayment", "payment_in_progress", start({ orderId: opened.orderId })],
      ["startPayment", "order_mismatch", start({ orderId: inReview.orderId, amountMinor: 20_000 })],
      ["startPayment", "order_in_review", start({ orderId: inReview.orderId })],
      [
        "startPayment",
        "idempotency_mismatch",
        { ...start({ orderId: "twice" }), headers: { ...key, "idempotency-key": "once" } },
      ],
      ["readOrder", "key_invalid", { names: opened }],
      ["readOrder", "token_invalid", { names: opened, query: { token: "nonsense" } }],
      ["readOrder", "token_expired", { names: opened, query: { token: expired.watchToken } }],
      ["readOrder", "order_unknown", unknown],
      ["listOrders", "body_invalid", { headers: key, query: { limit: "0" } }],
      ["listOrders", "key_invalid", {}],
      ["resolveReview", "body_invalid", { names: inReview, headers: key, body: {} }],
      ["resolveReview", "order_unknown", { ...unknown, body: { ...decision, paymentId: opened.paymentId } }],
      [
        "resolveReview",
        "payment_unknown",
        { names: inReview, headers: key, body: { ...decision, paymentId: opened.paymentId } },
      ],
      [
        "resolveReview",
        "not_in_review",
        { names: opened, headers: key, body: { ...decision, paymentId: opened.paymentId } },
      ],
      ["listOrders", "phone_invalid", { headers: key, query: { phone: "none" } }],
      ["exportOrders", "body_invalid", { headers: key, query: { limit: "1" } }],
      ["exportPayments", "phone_invalid", { headers: key, query: { phone: "none" } }],
      ["listPayments", "key_invalid", {}],
      ["summarizePayments", "body_invalid", { headers: key }],
      ["listWebhooks", "body_invalid", { headers: key, query: { result: "none" } }],
      ["askProvider", "payment_unknown", { names: { id: "0199f2c4-0000-7000-8000-00000000ffff" }, headers: key }],
      ["askProvider", "scope_missing", { names: { id: "none" }, headers: reader }],
      [
        "applyWebhook",
        "webhook_unknown",
        { names: { id: "999999" }, headers: key, body: { paymentId: paid.paymentId } },
      ],
      [
        "applyWebhook",
        "payment_unknown",
        { names: { id: "1" }, headers: key, body: { paymentId: "0199f2c4-0000-7000-8000-00000000ffff" } },
      ],
      ["applyWebhook", "scope_missing", { names: { id: "1" }, headers: reader, body: {} }],
      ["createPaymentLink", "amount_invalid", { headers: key, body: { orderId: "free", currency: "KES" } }],
      ["createPaymentLink", "order_mismatch", { headers: key, body: linkBody({ orderId: opened.orderId }) }],
      ["readPaymentLink", "payment_link_unknown", { headers: key }],
      ["readPaymentLink", "key_invalid", {}],
      ["cancelPaymentLink", "payment_link_unknown", { names: { id: "none" }, headers: key }],
      ["sendNotification", "key_invalid", { names: { ...opened, name: "receipt" } }],
      ["sendNotification", "order_unknown", { names: { orderId: "ORD-nowhere", name: "receipt" }, headers: key }],
      ["sendNotification", "order_unpaid", { names: { ...opened, name: "receipt" }, headers: key }],
      ["sendNotification", "notification_unknown", { names: { ...opened, name: "fax" }, headers: key }],
      ["sendNotification", "recipient_missing", { names: { ...paid, name: "receipt" }, headers: key }],
      ["sendNotification", "not_in_review", { names: { ...paid, name: "alert" }, headers: key }],
      ["listOrderNotifications", "order_unknown", unknown],
      ["testNotification", "key_invalid", { names: { name: "receipt" } }],
      ["testNotification", "phone_invalid", { names: { name: "sms" }, headers: key, body: { to: "12" } }],
      ["testNotification", "body_invalid", { names: { name: "receipt" }, headers: key, body: { to: "12" } }],
      ["testNotification", "notification_unknown", { names: { name: "fax" }, headers: key, body: {} }],
      ["replayNotification", "body_invalid", { names: { name: "receipt" }, headers: key, body: {} }],
      ["createKey", "body_invalid", { headers: key, body: { name: "", scopes: [] } }],
      ["createKey", "key_invalid", { body: { name: "a shop", scopes: ["read"] } }],
      ["createKey", "scope_missing", { headers: reader, body: { name: "a shop", scopes: ["read"] } }],
      ["startPayment", "scope_missing", { headers: reader, body: paymentBody() }],
      ["revokeKey", "key_unknown", { names: { id: "none" }, headers: key }],
      ["signIn", "key_invalid", { body: { key: "wrong" } }],
      ["signIn", "origin_refused", { headers: { origin: "https://elsewhere.example" }, body: { key: apiKey } }],
      ["readSession", "key_invalid", {}],
      ["createPlan", "body_invalid", { headers: key, body: planBody({ kind: "loan", schedule: latePlan }) }],
      [
        "createPlan",
        "phone_invalid",
        { headers: key, body: planBody({ customer: { phone: "12" }, schedule: latePlan }) },
      ],
      ["createPlan", "plan_exists", { headers: key, body: planBody({ planId: plan.planId, schedule: latePlan }) }],
      ["createPlan", "order_mismatch", { headers: key, body: planBody({ planId: "TAKEN", schedule: latePlan }) }],
      ["readPlan", "plan_unknown", { names: { planId: "none" }, headers: key }],
      ["readPlan", "key_invalid", { names: { planId: "none" } }],
      ["pausePlan", "plan_closed", { names: plan, headers: key }],
      ["putResult", "body_invalid", { names: opened, headers: key, body: {} }],
      ["putResult", "key_invalid", { names: opened, body: result }],
      ["putResult", "order_unknown", { ...unknown, body: result }],
      ["putResult", "order_unpaid", { names: opened, headers: key, body: result }],
      ["putResult", "body_invalid", { names: { orderId: "%00" }, headers: key, body: result }],
      ["removeResult", "key_invalid", { names: { ...opened, resultId: "text" } }],
      ["removeResult", "body_invalid", { names: { ...opened, resultId: "%00" }, headers: key }],
      ["removeResult", "order_unknown", { names: { orderId: "ORD-nowhere", resultId: "text" }, headers: key }],
      ["removeResult", "result_unknown", { names: { ...opened, resultId: "text" }, headers: key }],
      ["issueWatchToken", "key_invalid", { names: opened }],
      ["issueWatchToken", "order_unknown", unknown],
      ["waitForOrder", "body_invalid", { names: opened, headers: key, query: { timeout: "0" } }],
      ["waitForOrder", "token_invalid", { names: opened }],
      ["waitForOrder", "order_unknown", unknown],
      ["streamOrder", "body_invalid", { names: opened, headers: key, query: { after: "-1" } }],
      ["streamOrder", "token_expired", { names: opened, query: { token: expired.watchToken } }],
      ["streamOrder", "order_unknown", unknown],
      ["readOrder", "body_invalid", { names: { orderId: "%00" }, headers: key }],
      ["readOrder", "body_invalid", { names: { orderId: "%zz" } }],
      ["waitForOrder", "body_invalid", { names: { orderId: "%00" }, headers: key }],
      ["streamOrder", "body_invalid", { names: { orderId: "%00" }, headers: key }],
      ["resolveReview", "body_invalid", { names: { orderId: "%00" }, headers: key, body: decision }],
      ["issueWatchToken", "body_invalid", { names: { orderId: "%00" }, headers: key }],
      ["openSocket", "upgrade_required", { names: opened }],
      ["fetchProviderToken", "body_invalid", { names: { provider: "%ff" }, headers: key }],
      ["recordReturn", "body_invalid", { names: { secret: "%ff" } }],
      ["readSdkFile", "body_invalid", { names: { file: "%ed%a0%80" } }],
      ["listPrompts", "body_invalid", { names: { msisdn: "%ff" } }],
      ["receiveWebhook", "webhook_rejected", { body: {} }],
      ["receiveWebhook", "webhook_unreadable", { names: { secret }, body: "{]" }],
      ["receiveWebhook", "body_too_large", { names: { secret }, body: "x".repeat(70_000) }],
      ["receivePutWebhook", "provider_unknown", { names: { secret, provider: "nobody" }, body: {} }],
      ["receiveAccountWebhook", "webhook_rejected", { body: {} }],
      ["receiveAccountWebhook", "provider_unknown", { names: { provider: "nobody" }, body: {} }],
      ["answerPrompt", "body_invalid", { body: { answer: "maybe" } }],
      ["answerPrompt", "route_unknown", { body: { answer: "approve" } }],
    ];
    for (const [operationId, code, sent] of refusals) {
      const { status, body } = await send(operationId, sent);
      expect({ operationId, status, body }).toMatchObject({
        operationId,
        status: errorTable[code].status,
        body: { code },
      });
    }
  });

  it("get a described answer for random input", { timeout: 120_000 }, async () => {
    const { orderId = "", paymentId = "" } = await open();
    await asMerchant(node, "/v1/payments", paymentBody({ orderId: "paid", phone: "+254712345601" }));
    await asMerchant(node, "/v1/orders/paid/wait?timeout=20");
    const operations = listOperations(document);
    // No order exists with this name, because a long poll on an open order would wait.
    const segment = fc.oneof(
      fc.constantFrom("paid", "%00", "%zz", "daraja", "nobody", "..%2f", "%20", paymentId),
      // `fetch` removes path segments of dots, and would request another route.
      fc.string({ maxLength: 80 }).map((text) => encodeURIComponent(text.toWellFormed()).replace(/^\.{0,2}$/, "x")),
    );
    const value = fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom("0", "1", "25", "-1", "1e9", "2026-11-20"));
    const record = (keys: string[], values: fc.Arbitrary<string>) => fc.dictionary(fc.constantFrom(...keys), values);
    const credential = fc.constantFrom({}, { authorization: `Bearer ${apiKey}` }, { authorization: "Bearer wrong" });
    const body = fc.oneof(
      fc.string(),
      fc.jsonValue(),
      fc.constantFrom("{", "", "null", paymentBody({ orderId }), { as: "failed", note: "n", paymentId }),
    );
    const noise = fc.record({
      operation: fc.constantFrom(...operations),
      names: record(["orderId", "provider", "secret", "msisdn", "file", "id", "resultId"], segment),
      query: record(["after", "timeout", "limit", "cursor", "from", "status", "token", "x"], value),
      headers: credential,
      other: record(["idempotency-key", "prefer", "last-event-id"], fc.stringMatching(/^[\x21-\x7e]{0,40}$/)),
      body,
    });
    await fc.assert(
      fc.asyncProperty(noise, async ({ operation, names, query, headers, other, body }) => {
        await send(operation.operationId, {
          names,
          query,
          headers: { ...other, ...headers },
          ...(operation.method !== "GET" && { body }),
        });
      }),
      { numRuns: 1_500 },
    );
  });

  it("get the described problem with `Retry-After` above the limit", async () => {
    const limited = await startNode({ databaseUrl, env: { LIMIT_PHONE: "1", LIMIT_IP: "1" } });
    const sendLimited = createCaller(limited.url, await documentOf(limited));
    const headers = { authorization: `Bearer ${apiKey}` };
    // No other test uses this address.
    const phone = "+254712345699";
    const answers = [
      await sendLimited("startPayment", { headers, body: paymentBody({ phone }) }),
      await sendLimited("startPayment", { headers, body: paymentBody({ phone }) }),
      await sendLimited("listOrders", { headers: {} }),
      await sendLimited("listOrders", { headers: {} }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([202, 429, 401, 429]);
    for (const { status, headers } of answers) expect(headers.has("retry-after")).toBe(status === 429);
  });

  it("get the described problem from an origin that is not allowed", async () => {
    const guarded = await startNode({ databaseUrl, env: { ALLOWED_ORIGINS: "https://shop.example" } });
    const foreign = { authorization: `Bearer ${apiKey}`, origin: "https://elsewhere.example" };
    const { body } = await createCaller(guarded.url, await documentOf(guarded))("listOrders", { headers: foreign });
    expect(body).toMatchObject({ code: "origin_refused" });
  });
});
