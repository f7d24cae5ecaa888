/** All routes of a node: other methods, OPTIONS, and junk in parameters. New routes are covered too. */
import { once } from "node:events";
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request as send } from "node:http";
import { connect } from "node:net";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { type ErrorCode, errorTable } from "../../server/errors.ts";
import { providerNames } from "../../server/provider/registry.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { collectRoutes, type RegisteredRoute } from "../support/routes.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let node: TestNode;
let routes: RegisteredRoute[];
let values: Record<string, string>;
beforeEach(async () => {
  const env = { SANDBOX: providerNames.join(","), ALLOWED_ORIGINS: "https://shop.example" };
  const collected = await collectRoutes(() => startNode({ databaseUrl, env }));
  node = collected.started;
  // The route of the CORS plugin.
  routes = collected.routes.filter(({ url }) => url !== "*");
  const { order } = await pay(node);
  values = {
    orderId: order.orderId,
    provider: "daraja",
    secret: createUrlSecrets([testSecret], "webhook").seal("daraja", order.payment.id),
    file: "tukio.js",
    msisdn: "254712345600",
    id: "0199f2c4-0000-7000-8000-000000000001",
    resultId: "text",
    reference: "0199f2c4-0000-7000-8000-000000000002",
  };
});

/** URLs that pages of other origins must not call. */
const isClosed = (path: string): boolean => /^\/(webhooks|sandbox)\/|^\/(metrics|docs\/key|desk\/session)$/.test(path);

/** Log lines of a busy machine, on which PostgreSQL may not answer in time. */
const isExcused = (line: string): boolean => /sandbox\.request\.failed|connection timeout/.test(line);

interface Received {
  status: number;
  headers: IncomingHttpHeaders;
  /** The text, or the first chunk of a stream. */
  text: string;
}

/** Sends a request without normalizing the path, which `fetch` does. */
async function request(
  method: string,
  path: string,
  headers: OutgoingHttpHeaders = {},
  body?: string,
): Promise<Received> {
  const { hostname, port } = new URL(node.url);
  const sent = send({ hostname, port, path, method, headers, agent: false });
  sent.end(body);
  const [response] = await once(sent, "response");
  const answer = { status: response.statusCode, headers: response.headers };
  let text = "";
  for await (const chunk of response) {
    text += chunk;
    if (response.headers["content-type"]?.startsWith("text/event-stream")) break;
  }
  return { ...answer, text };
}

const problemOf = ({ status, headers, text }: Received): { status: number; code: string; fields: unknown } => {
  expect(headers["content-type"]).toMatch(/^application\/problem\+json/);
  const { code, errors } = JSON.parse(text);
  return { status, code, fields: errors?.map(({ path }: { path: string }) => path) };
};

const problem = (code: ErrorCode): { status: number; code: ErrorCode } => ({ status: errorTable[code].status, code });

const filled = (url: string): string => url.replace(/:(\w+)/g, (_, name: string) => values[name] ?? "x");

/** The methods of each path. Several routes may match a path, such as `/transactions/:id` and `/transactions/push-stk`. */
function methodsByPath(): Map<string, string[]> {
  const patterns = routes.map(({ method, url }) => ({
    method,
    pattern: new RegExp(`^${url.replace(/:\w+/g, "[^/]*").replace("/desk/*", "/desk/.*")}$`),
  }));
  const paths = new Set(routes.map(({ url }) => filled(url)));
  return new Map(
    [...paths].map((path) => [
      path,
      [...new Set(patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method))],
    ]),
  );
}

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"];

const allowOf = ({ headers }: Received): string[] => (headers.allow ?? "").split(", ").toSorted();

/** A preflight of a page of the allowed origin. */
const preflight = {
  origin: "https://shop.example",
  "access-control-request-method": "POST",
  "access-control-request-headers": "authorization",
};

const isProviders = (path: string): boolean => /^\/sandbox\/(?!phone)/.test(path);

describe("every route", () => {
  it("refuses other methods with 405 and `Allow`", async () => {
    const byPath = methodsByPath();
    expect(byPath.size).toBeGreaterThan(40);
    for (const [path, taken] of byPath) {
      for (const method of methods.filter((one) => !taken.includes(one))) {
        const answer = await request(
          method,
          path,
          { "content-type": "application/json" },
          method === "POST" ? "{]" : "",
        );
        expect([method, path, answer.status, allowOf(answer)]).toEqual([
          method,
          path,
          405,
          [...taken, "OPTIONS"].toSorted(),
        ]);
        if (method !== "HEAD") expect(problemOf(answer)).toMatchObject(problem("method_not_allowed"));
      }
    }
  });

  it("accepts HEAD with GET, except routes that wait, stream, upgrade or move money", () => {
    const byPath = methodsByPath();
    const without = [...byPath].filter(([, taken]) => taken.includes("GET") && !taken.includes("HEAD"));
    expect(without.map(([path]) => path).toSorted()).toEqual(
      [
        "/v1/events",
        "/v1/orders.csv",
        "/v1/payments.csv",
        `/v1/orders/${values.orderId}/events`,
        `/v1/orders/${values.orderId}/socket`,
        `/v1/orders/${values.orderId}/wait`,
        `/return/${values.secret}`,
        `/return/${values.secret}/`,
      ].toSorted(),
    );
  });

  it("answers an OPTIONS that is no preflight with 204 and `Allow`, without CORS headers", async () => {
    for (const [path, taken] of methodsByPath()) {
      for (const headers of [
        {},
        { origin: preflight.origin },
        { ...preflight, origin: "https://elsewhere.example" },
        ...(isClosed(path) ? [preflight] : []),
      ]) {
        const answer = await request("OPTIONS", path, headers);
        expect([path, answer.status, answer.text]).toEqual([path, 204, ""]);
        expect(allowOf(answer)).toEqual([...taken, "OPTIONS"].toSorted());
        expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control-"))).toEqual([]);
      }
    }
  });

  it("allows pages of an allowed origin, except on routes that no page of another origin may call", async () => {
    for (const path of methodsByPath().keys()) {
      if (isClosed(path)) continue;
      const { status, headers } = await request("OPTIONS", path, preflight);
      expect([path, status, headers]).toMatchObject([
        path,
        204,
        {
          "access-control-allow-origin": preflight.origin,
          "access-control-allow-methods": expect.stringContaining("POST"),
          "access-control-allow-headers": "authorization",
        },
      ]);
    }
    const refused = await request("DELETE", "/v1/payments", { origin: preflight.origin });
    expect(refused.headers["access-control-allow-origin"]).toBe(preflight.origin);
  });

  const junk = [
    "%00",
    "%ED%A0%80",
    "%zz",
    "%",
    "%ff",
    "%2e%2e%2f",
    "%2F",
    "%0d%0ax",
    "__proto__",
    "constructor",
    "toString",
    "x".repeat(5_000),
    "%F0%9F%92%A5",
    "a,b",
    "%5B%5D",
    "",
  ];

  /** Expects a problem for junk. Providers' sandboxes and pages have other forms of errors. */
  const expectRefusal = (what: string, answer: Received): void => {
    if (answer.status < 400) return;
    // Safaricom answers 500 to many invalid requests, and so does its sandbox.
    const isBusy = answer.status === 503 && answer.text.includes("store_unavailable");
    if (!isBusy && !what.includes("/sandbox/daraja/")) expect([what, answer.status < 500]).toEqual([what, true]);
    const path = what.split(" ")[1] ?? "";
    if (what.startsWith("HEAD") || isProviders(path) || answer.headers["content-type"]?.startsWith("text/html")) return;
    const { status, code } = problemOf(answer);
    expect([what, errorTable[code as ErrorCode].status]).toEqual([what, status]);
  };

  const authorized = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };

  const bodyOf = (method: string): string | undefined => (/^(GET|HEAD|DELETE)$/.test(method) ? undefined : "{}");

  /** Sends a request with junk in one parameter of its path. A value that is not percent-encoded UTF-8 is refused with 400. */
  async function tryParameter(given: { method: string; url: string; name: string; value: string }): Promise<void> {
    const { method, url, name, value } = given;
    const path = filled(url.replace(`:${name}`, () => value));
    const answer = await request(method, path, authorized, bodyOf(method));
    expectRefusal(`${method} ${path}`, answer);
    if (!/^%(ED%A0%80|zz|ff|)$/.test(value)) return;
    expect([path, answer.status]).toEqual([path, 400]);
    if (method !== "HEAD") expect([path, problemOf(answer)]).toMatchObject([path, { fields: [name] }]);
  }

  /** Sends a request with junk in its query, with and without a credential. */
  async function tryQuery(method: string, path: string, query: string): Promise<void> {
    for (const headers of [authorized, { "content-type": "application/x-www-form-urlencoded" }]) {
      expectRefusal(`${method} ${path}`, await request(method, `${path}?${query}`, headers, bodyOf(method)));
    }
  }

  it("answers junk in path parameters without 5xx", { timeout: 120_000 }, async () => {
    let count = 0;
    for (const { method, url } of routes) {
      for (const name of [...url.matchAll(/:(\w+)/g)].map(([, one = ""]) => one)) {
        for (const value of junk) await tryParameter({ method, url, name, value });
        count += junk.length;
      }
    }
    expect(count).toBeGreaterThan(400);
    expect(node.log.filter((line) => /"level":[56]0/.test(line) && !isExcused(line))).toEqual([]);
  });

  it("answers junk in the query without 5xx", { timeout: 120_000 }, async () => {
    const names = ["after", "timeout", "token", "status", "provider", "from", "cursor", "limit", "changedSince"];
    const others = ["reference", "order_id", "grant_type", "page", "paymentID", "__proto__", "constructor"];
    for (const { method, url } of routes) {
      // A long poll would wait.
      if (url.endsWith("/wait")) continue;
      for (const value of ["%00", "%ED%A0%80", "%zz", "", "x".repeat(200)]) {
        const query = [...names, ...others].map((name) => `${name}=${value}&${name}=${value}`).join("&");
        await tryQuery(method, filled(url), query);
      }
    }
    expect(node.log.filter((line) => /"level":[56]0/.test(line) && !isExcused(line))).toEqual([]);
  });

  it("names the wrong field of an order's URL or query", async () => {
    const order = "/v1/orders";
    for (const [method, path, field] of [
      ["GET", `${order}/%00`, "orderId"],
      ["GET", `${order}/${"x".repeat(5_000)}`, "orderId"],
      ["GET", `${order}/%00/wait`, "orderId"],
      ["GET", `${order}/%00/events`, "orderId"],
      ["POST", `${order}/%00/resolve`, "orderId"],
      ["POST", `${order}/%00/watch-tokens`, "orderId"],
      ["POST", `${order}/%00/results`, "orderId"],
      ["DELETE", `${order}/${values.orderId}/results/%00`, "resultId"],
      ["DELETE", `${order}/${values.orderId}/results/${"x".repeat(65)}`, "resultId"],
      ["GET", `${order}/${values.orderId}/wait?after=1&after=2`, "after"],
      ["GET", `${order}/${values.orderId}/wait?timeout=1&timeout=2`, "timeout"],
      ["GET", `${order}/${values.orderId}/events?after=1&after=2`, "after"],
      ["GET", `${order}?limit=1&limit=2`, "limit"],
      ["GET", `${order}?provider=%00`, "provider"],
    ] as const) {
      const decision = { paymentId: values.id, as: "failed", note: "no money came" };
      const answer = await request(method, path, authorized, method === "POST" ? JSON.stringify(decision) : undefined);
      expect([path, problemOf(answer)]).toEqual([path, { ...problem("body_invalid"), fields: [field] }]);
    }
    for (const [body, type, field] of [
      ["{]", "application/json", "body"],
      ["a=b", "application/x-www-form-urlencoded", "Content-Type"],
    ] as const) {
      const answer = await request("POST", "/v1/payments", { ...authorized, "content-type": type }, body);
      expect(problemOf(answer)).toEqual({ ...problem("body_invalid"), fields: [field] });
    }
  });

  it("refuses a body that is too large without 5xx", async () => {
    for (const { method, url } of routes.filter((route) => route.method === "POST" || route.method === "PUT")) {
      const answer = await request(method, filled(url), authorized, JSON.stringify("x".repeat(70_000)));
      expect([method, url, answer.status < 500, answer.status >= 400]).toEqual([method, url, true, true]);
    }
  });
});

describe("an unknown URL", () => {
  it("answers `route_unknown` to every method, and to OPTIONS", async () => {
    for (const path of ["/nowhere", "/v1", "/v1/orders/x/nowhere", "/livez/", "/sandbox"]) {
      for (const method of [...methods, "OPTIONS"]) {
        const answer = await request(method, path);
        expect([method, path, answer.status, answer.headers.allow]).toEqual([method, path, 404, undefined]);
        if (method !== "HEAD") expect(problemOf(answer)).toMatchObject(problem("route_unknown"));
      }
    }
    expect(problemOf(await request("GET", "/%zz"))).toEqual({ ...problem("body_invalid"), fields: ["path"] });
  });
});

describe("the URL of a WebSocket", () => {
  it("answers a request without `Upgrade` with 426, with and without a token", async () => {
    for (const headers of [{}, { upgrade: "h2c", connection: "Upgrade" }]) {
      const answer = await request("GET", `/v1/orders/${values.orderId}/socket?token=nonsense&after=x`, headers);
      expect(problemOf(answer)).toMatchObject(problem("upgrade_required"));
      expect(answer.headers).toMatchObject({ upgrade: "websocket", connection: "Upgrade" });
      expect(JSON.parse(answer.text).detail).toMatch(
        /proxy.*proxy_http_version.*proxy_set_header Upgrade.*deploy\/nginx/,
      );
    }
  });
});

describe("a request that Node cannot parse", () => {
  /** Writes to a new connection. Resolves with the whole answer when the connection ends. */
  const write = async (text: string): Promise<string> => {
    const { hostname, port } = new URL(node.url);
    const socket = connect(Number(port), hostname);
    onTestFinished(() => void socket.destroy());
    socket.write(text);
    let answer = "";
    socket.on("data", (chunk) => (answer += chunk)).on("error", () => undefined);
    await new Promise((resolve) => socket.once("close", resolve));
    return answer;
  };

  it.each([
    ["is not HTTP", "hello\r\n\r\n", "body_invalid"],
    [
      "has two lengths",
      "POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1",
      "body_invalid",
    ],
    [
      "has more headers than fit",
      `GET /livez HTTP/1.1\r\nHost: x\r\nX-More: ${"x".repeat(17_000)}\r\n\r\n`,
      "headers_too_large",
    ],
  ] as const)("because it %s gets a problem, and its connection ends", async (_why, text, code) => {
    const [head = "", body = ""] = (await write(text)).split("\r\n\r\n");
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${errorTable[code].status} `));
    expect(head).toMatch(/content-type: application\/problem\+json/i);
    expect(head).toMatch(new RegExp(`content-length: ${Buffer.byteLength(body)}(\r\n|$)`, "i"));
    expect(JSON.parse(body)).toMatchObject(problem(code));
  });

  it("does not interrupt the previous answer", async () => {
    const path = `/v1/orders/${values.orderId}/events`;
    const { hostname, port } = new URL(node.url);
    const socket = connect(Number(port), hostname);
    onTestFinished(() => void socket.destroy());
    let answer = "";
    socket.on("data", (chunk) => (answer += chunk)).on("error", () => undefined);
    const closed = once(socket, "close");
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${apiKey}\r\n\r\n`);
    await once(socket, "data");
    socket.write("hello\r\n\r\n");
    await closed;
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200"]);
  });
});
