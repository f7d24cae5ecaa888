/**
 * API keys and sessions of the desk, attacked: a key beyond its scopes on every route, requests that other pages send with a signed-in
 * browser, planted sessions, guessing, and keys that were revoked. How long a comparison takes is no test: a secret is found by its
 * SHA-256, so the time depends on nothing that an attacker can choose (server/auth/api-key.ts).
 */
import { once } from "node:events";
import { io } from "socket.io-client";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { type Scope, scopes } from "../../server/auth/api-key.ts";
import { createDatabase } from "../support/database.ts";
import { asDesk, createKey, signIn, withKey } from "../support/key.ts";
import { apiKey, asMerchant, call, pay, paymentBody, send, startNode, type TestNode } from "../support/node.ts";
import { type Listed, listOperations, type OpenApiDocument } from "../support/openapi.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const uuid = "0199f2c4-0000-7000-8000-000000000001";

describe("a key beyond its scopes", () => {
  it("is refused on every route of the merchant, with the name of the scope, and opens the routes of its own", async () => {
    const node = await startNode({ databaseUrl });
    const document = (await call(`${node.url}/openapi.json`)).body as unknown as OpenApiDocument;
    const secrets = new Map<Scope, string>();
    for (const scope of scopes) secrets.set(scope, (await createKey(node, [scope])).secret);
    const operations = listOperations(document).filter(
      ({ path, security }) => path.startsWith("/v1/") || isKeyed(security),
    );
    expect(operations.length).toBeGreaterThan(40);
    for (const operation of operations) await tryScopes(node, operation, secrets);
  });

  it("watches nothing without `read`, on sockets too", async () => {
    const node = await startNode({ databaseUrl });
    const { order } = await pay(node);
    const { secret } = await createKey(node, ["pay", "manage"]);
    const socket = new WebSocket(`${node.url.replace("http", "ws")}/v1/orders/${order.orderId}/socket?token=${secret}`);
    onTestFinished(() => socket.terminate());
    const [code, reason] = await once(socket, "close");
    expect([code, String(reason)]).toEqual([4401, "scope_missing"]);
    const client = io(node.url, {
      auth: { token: secret, orderId: order.orderId },
      forceNew: true,
      reconnection: false,
    });
    onTestFinished(() => void client.disconnect());
    const error = await new Promise((resolve) => client.once("connect_error", resolve));
    expect(error).toMatchObject({ data: { code: "scope_missing" } });
  });
});

/** Sends the operation with a key of each scope. Only the needed one opens it. */
async function tryScopes(node: TestNode, operation: Listed, secrets: ReadonlyMap<Scope, string>): Promise<void> {
  const { operationId, method, path, security } = operation;
  const named = security.flatMap((one) => (one as { apiKey?: Scope[] }).apiKey ?? []);
  expect([operationId, named.length]).toEqual([operationId, 1]);
  const [needed] = named;
  if (method === "GET") expect([operationId, needed]).toEqual([operationId, "read"]);
  // Metrics are open to this machine; a socket checks its credential after the upgrade, below.
  if (operationId === "readMetrics" || operationId === "openSocket") return;
  const url = path.replace("{id}", uuid).replace(/\{\w+\}/g, "x1");
  const request = { method, ...(/POST|PUT|PATCH/.test(method) && { body: {} }) };
  const { status: opened } = await withKey(node, secrets.get(needed as Scope) ?? "", url, request);
  expect([operationId, [401, 403, 500].includes(opened)]).toEqual([operationId, false]);
  for (const scope of scopes.filter((one) => one !== needed)) {
    const { status, body } = await withKey(node, secrets.get(scope) ?? "", url, request);
    const detail = expect.stringContaining(`the scope ${needed}`);
    const refusal = { status: 403, body: { code: "scope_missing", detail } };
    expect({ operationId, scope, status, body }).toMatchObject(refusal);
  }
}

const isKeyed = (security: readonly object[]): boolean => security.some((one) => "apiKey" in one);

/** What browsers send with the request of a page of another origin, newest browsers first. */
const foreignPages: [string, Record<string, string>][] = [
  ["another site", { origin: "https://evil.example", "sec-fetch-site": "cross-site" }],
  ["a subdomain", { origin: "https://blog.shop.example", "sec-fetch-site": "same-site" }],
  ["another port", { origin: "http://127.0.0.1:1", "sec-fetch-site": "same-site" }],
  ["a sandboxed frame", { origin: "null", "sec-fetch-site": "cross-site" }],
  ["another site in an old browser", { origin: "https://evil.example", "sec-fetch-site": "" }],
  ["a sandboxed frame in an old browser", { origin: "null", "sec-fetch-site": "" }],
];

/** `call` cannot leave out a header that `asDesk` sets. */
const present = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== ""));

const foreign = (
  node: TestNode,
  path: string,
  {
    cookie,
    method,
    page,
    type,
    body,
  }: { cookie: string; method: string; page: Record<string, string>; type?: string; body?: string },
) =>
  call(node.url + path, {
    method,
    headers: { cookie, ...present(page), ...(type !== undefined && { "content-type": type }) },
    ...(body !== undefined && { body }),
  });

describe.each(foreignPages)("a request of %s with the cookie of a signed-in browser", (_name, page) => {
  it("changes nothing, and reads nothing", async () => {
    const node = await startNode({ databaseUrl });
    const { cookie } = await signIn(node, apiKey);
    const { key } = await createKey(node, ["read"]);
    const link = await asMerchant(node, "/v1/payment-links", {
      orderId: `L-${key.id}`,
      amountMinor: 100,
      currency: "KES",
    });
    const { id } = (link.body as unknown as { paymentLink: { id: string } }).paymentLink;
    const form = { type: "application/x-www-form-urlencoded", body: "orderId=X" };
    const text = { type: "text/plain", body: JSON.stringify(paymentBody()) };
    const json = { type: "application/json", body: JSON.stringify(paymentBody()) };
    const attempts: [string, string, object][] = [
      ["POST", "/v1/payments", form],
      ["POST", "/v1/payments", text],
      ["POST", "/v1/payments", json],
      ["POST", `/v1/payment-links/${id}/cancel`, {}],
      ["POST", `/v1/payment-links/${id}/cancel`, form],
      ["DELETE", `/v1/keys/${key.id}`, {}],
      ["GET", "/v1/orders", {}],
      ["GET", "/v1/events", {}],
      ["DELETE", "/desk/session", {}],
      ["GET", "/desk/session", {}],
      ["POST", "/desk/session", { type: "application/json", body: JSON.stringify({ key: apiKey }) }],
    ];
    for (const [method, path, sent] of attempts) {
      const { status, headers, body } = await foreign(node, path, { cookie, method, page, ...sent });
      expect([method, path, status, body.code]).toEqual([method, path, 403, "origin_refused"]);
      expect(headers.get("access-control-allow-credentials")).toBeNull();
    }
    expect((await asMerchant(node, `/v1/payment-links/${id}`)).body).toMatchObject({ paymentLink: { status: "open" } });
    expect((await asDesk(node, cookie, "/desk/session")).status).toBe(200);
    expect((await asMerchant(node, "/v1/keys")).body.data).toContainEqual(key);
  });
});

describe("the cookie of a signed-in browser", () => {
  it("is refused in a change that states no origin, and in a form of the desk's own origin", async () => {
    const node = await startNode({ databaseUrl });
    const { cookie } = await signIn(node, apiKey);
    const bare = await foreign(node, `/v1/keys/${uuid}`, { cookie, method: "DELETE", page: {} });
    expect(bare.body.code).toBe("origin_refused");
    const own = { origin: node.url, "sec-fetch-site": "same-origin" };
    const type = "application/x-www-form-urlencoded";
    const form = await foreign(node, "/v1/payments", { cookie, method: "POST", page: own, type, body: "orderId=X" });
    expect(form).toMatchObject({ status: 400, body: { errors: [{ path: "Content-Type" }] } });
  });

  it("opens no socket, whatever the origin", async () => {
    const node = await startNode({ databaseUrl });
    const { cookie } = await signIn(node, apiKey);
    const { order } = await pay(node);
    for (const origin of [node.url, "https://evil.example"]) {
      const url = `${node.url.replace("http", "ws")}/v1/orders/${order.orderId}/socket`;
      const socket = new WebSocket(url, { headers: { cookie, origin } });
      onTestFinished(() => socket.terminate());
      expect((await once(socket, "close"))[0]).toBe(4401);
      const extraHeaders = { cookie, origin };
      const client = io(node.url, {
        auth: { orderId: order.orderId },
        extraHeaders,
        forceNew: true,
        reconnection: false,
      });
      onTestFinished(() => void client.disconnect());
      const error = await new Promise((resolve) => client.once("connect_error", resolve));
      expect(error).toMatchObject({ data: { code: "token_invalid" } });
    }
  });

  it("is neither a key, nor is a key one", async () => {
    const node = await startNode({ databaseUrl });
    const { cookie } = await signIn(node, apiKey);
    const token = cookie.split("=")[1] ?? "";
    expect((await withKey(node, token, "/v1/orders")).status).toBe(401);
    expect((await signIn(node, token)).answer.status).toBe(401);
    expect((await asDesk(node, `tukio_desk=${apiKey}`, "/v1/orders")).status).toBe(401);
    expect((await call(`${node.url}/v1/orders?token=${token}`)).status).toBe(401);
  });
});

describe("a planted session", () => {
  it("is not the one that a sign-in opens, and ends with it", async () => {
    const node = await startNode({ databaseUrl });
    const { secret } = await createKey(node, ["read"], "attacker");
    const chosen = `tukio_desk=tukio_session_${"A".repeat(43)}`;
    const planted = (await signIn(node, secret)).cookie;
    for (const before of [chosen, planted]) {
      const { answer, cookie } = await signIn(node, apiKey, before);
      expect(answer).toMatchObject({ status: 201, body: { name: "TUKIO_API_KEY" } });
      expect(cookie).not.toBe(before);
      expect((await asDesk(node, before, "/v1/orders")).status).toBe(401);
      expect((await asDesk(node, cookie, "/v1/orders")).status).toBe(200);
    }
  });

  it("from a subdomain is not read where the node has https", async () => {
    const node = await startNode({ databaseUrl, env: { PUBLIC_URL: "https://pay.shop.example" } });
    const { cookie } = await signIn(node, apiKey);
    expect(cookie).toMatch(/^__Host-/);
    const own = { origin: "https://pay.shop.example" };
    expect((await asDesk(node, cookie, "/v1/orders", { headers: own })).status).toBe(200);
    expect((await asDesk(node, cookie.replace("__Host-", ""), "/v1/orders", { headers: own })).status).toBe(401);
  });
});

describe("guessing keys", () => {
  const env = { TRUSTED_PROXIES: "127.0.0.1" };
  const from = (address: string) => ({ "x-forwarded-for": address });
  const tryKey = (node: TestNode, key: string, address: string) =>
    asDesk(node, "", "/desk/session", { method: "POST", body: { key }, headers: from(address) });

  it("by signing in ends after 10 attempts a minute of an address, also when they come at once", async () => {
    const node = await startNode({ databaseUrl, env });
    for (let count = 0; count < 12; count += 1) expect((await tryKey(node, apiKey, "198.51.100.1")).status).toBe(201);
    const attempts = Array.from({ length: 40 }, (_, index) => tryKey(node, `guess-${index}`, "198.51.100.1"));
    const statuses = (await Promise.all(attempts)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401)).toHaveLength(10);
    expect(statuses.filter((status) => status === 429)).toHaveLength(30);
    const late = await tryKey(node, apiKey, "198.51.100.1");
    expect(late).toMatchObject({ status: 429, body: { code: "rate_limited" } });
    expect(Number(late.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await tryKey(node, apiKey, "198.51.100.2")).status).toBe(201);
  });

  it("of the API ends after 60 attempts a minute of an address, and a right key works on", async () => {
    const node = await startNode({ databaseUrl, env });
    const ask = (key: string, address: string) =>
      call(`${node.url}/v1/orders`, { headers: { authorization: `Bearer ${key}`, ...from(address) } });
    const statuses: number[] = [];
    for (let count = 0; count < 62; count += 1) statuses.push((await ask(`guess-${count}`, "198.51.100.3")).status);
    expect(statuses).toEqual([...Array.from({ length: 60 }, () => 401), 429, 429]);
    expect((await ask(apiKey, "198.51.100.3")).status).toBe(200);
    expect((await ask("guess", "198.51.100.4")).status).toBe(401);
  });
});

describe("a revoked key", () => {
  it("works on no node after 5 s, although Redis is down, and its streams and watches end", async () => {
    const redis = await startTcpProxy("redis://127.0.0.1:1");
    redis.cut();
    const [one, two] = [
      await startNode({ databaseUrl, redisUrl: redis.url }),
      await startNode({ databaseUrl, redisUrl: redis.url }),
    ];
    const { order } = await pay(one);
    const { key, secret } = await createKey(one, ["read"]);
    await expect.poll(async () => (await withKey(two, secret, "/v1/orders")).status, { timeout: 5_000 }).toBe(200);
    const { cookie } = await signIn(one, secret);
    await expect.poll(async () => (await asDesk(two, cookie, "/v1/orders")).status, { timeout: 5_000 }).toBe(200);
    const follow = async (headers: Record<string, string>): Promise<unknown> => {
      const stream = await fetch(`${two.url}/v1/events`, { headers: { accept: "text/event-stream", ...headers } });
      expect(stream.status).toBe(200);
      return new Response(stream.body).text();
    };
    const client = io(two.url, { auth: { token: secret, orderId: order.orderId }, forceNew: true });
    onTestFinished(() => void client.disconnect());
    await new Promise((resolve) => client.once("status", resolve));
    const ends = [
      follow({ authorization: `Bearer ${secret}` }),
      follow({ cookie, "sec-fetch-site": "same-origin" }),
      new Promise((resolve) => client.once("expired", resolve)),
    ];
    const began = performance.now();
    expect((await send(one, "DELETE", `/v1/keys/${key.id}`)).status).toBe(204);
    const refused = async (): Promise<number[]> => [
      (await withKey(two, secret, "/v1/orders")).status,
      (await asDesk(two, cookie, "/v1/orders")).status,
      (await withKey(one, secret, "/v1/orders")).status,
    ];
    await expect.poll(refused, { timeout: 5_000 }).toEqual([401, 401, 401]);
    await Promise.all(ends);
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  it("works on no node that cannot read PostgreSQL for 5 s, where TUKIO_API_KEY works on", async () => {
    const proxy = await startTcpProxy(databaseUrl);
    const node = await startNode({ databaseUrl: proxy.url });
    const { secret } = await createKey(node, ["pay"]);
    // Refused by its body, before any statement.
    const ask = async (key: string): Promise<unknown> =>
      (await withKey(node, key, "/v1/payments", { method: "POST", body: {} })).body.code;
    expect(await ask(secret)).toBe("body_invalid");
    proxy.stall("answers");
    await expect.poll(() => ask(secret), { timeout: 5_000 }).toBe("store_unavailable");
    expect(await ask(`tukio_key_${"A".repeat(43)}`)).toBe("store_unavailable");
    expect(await ask("another")).toBe("key_invalid");
    expect(await ask(apiKey)).toBe("body_invalid");
    proxy.restore();
    await expect.poll(() => ask(secret)).toBe("body_invalid");
  });
});
