/**
 * Text that could be executed further on: as SQL, log lines, headers, paths, prototypes, or URLs that a node could be made
 * to call. It stays text, or is refused.
 */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import Fastify from "fastify";
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { createInFlight } from "../../server/in-flight.ts";
import type { Payment } from "../../server/order/order.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { providerNames } from "../../server/provider/registry.ts";
import { returnRoutes } from "../../server/route/returns.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, paymentBody, startNode, type TestNode, testSecret } from "../support/node.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { startScriptedProvider } from "../support/scripted-provider.ts";
import { leavesOf, replaced, webhookFixtures } from "./noise.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const start = (env: Record<string, string> = {}): Promise<TestNode> => startNode({ databaseUrl, env });

const tables = async (): Promise<string[]> => {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  const { rows } = await client.query("select tablename from pg_tables where schemaname = 'public' order by 1");
  await client.end();
  return rows.map(({ tablename }) => tablename);
};

describe("SQL", () => {
  const injections = [
    "'; drop table payment; --",
    "' or '1'='1",
    '"; delete from "order"; --',
    "$1",
    "\\'; select pg_sleep(5); --",
    "1; commit; drop table webhook",
    "' union select sealed from credential --",
    "%' --",
  ];

  it.each(injections)("stays text in every text field: %s", async (text) => {
    const before = await tables();
    const node = await start();
    const fields = { description: text, customer: { name: text }, metadata: { [text]: [text] } };
    const { order } = await pay(node, { ...fields, returnUrl: `https://shop.example/?q=${encodeURIComponent(text)}` });
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    expect(body).toMatchObject(fields);
    const key = { "idempotency-key": text };
    const repeated = paymentBody();
    expect((await asMerchant(node, "/v1/payments", repeated, key)).status).toBe(202);
    expect((await asMerchant(node, "/v1/payments", repeated, key)).headers.get("idempotency-replayed")).toBe("true");
    const encoded = encodeURIComponent(text);
    for (const path of [`/v1/orders/${encoded}`, `/v1/orders/${encoded}/wait`, `/v1/orders/${encoded}/events`]) {
      expect((await asMerchant(node, path)).status).toBe(400);
    }
    expect((await asMerchant(node, `/v1/orders?provider=${encoded}`)).body.data).toEqual([]);
    for (const name of ["status", "from", "to", "changedSince", "cursor", "limit"]) {
      expect((await asMerchant(node, `/v1/orders?${name}=${encoded}`)).status).toBe(400);
    }
    const cursor = Buffer.from(JSON.stringify([new Date(), text])).toString("base64url");
    expect((await asMerchant(node, `/v1/orders?cursor=${cursor}`)).status).toBe(400);
    const resolve = (decision: object) => asMerchant(node, `/v1/orders/${order.orderId}/resolve`, decision);
    expect((await resolve({ paymentId: text, as: "failed", note: text })).status).toBe(400);
    expect((await resolve({ paymentId: order.payment.id, as: "failed", note: text })).status).toBe(409);
    expect((await asMerchant(node, "/v1/payments", paymentBody({ provider: text }))).status).toBe(404);
    expect(await tables()).toEqual(before);
  });

  it("stays text in a webhook's reference and receipt", async () => {
    const before = await tables();
    const daraja = await startScriptedDaraja();
    const node = await start(daraja.env);
    const { order } = await pay(node);
    const push = await daraja.nextPush();
    const receipt = "';drop/**/table/**/payment;--";
    const items = { Amount: 150, MpesaReceiptNumber: receipt };
    const { status } = await push.webhook({
      ResultCode: 0,
      CallbackMetadata: { Item: Object.entries(items).map(([Name, Value]) => ({ Name, Value })) },
    });
    expect(status).toBe(200);
    expect((await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order).toMatchObject({
      status: "succeeded",
      payment: { receipt },
    });
    expect(await tables()).toEqual(before);
    push.accept();
  });
});

describe("the log", () => {
  it("is one JSON object per line for any request", async () => {
    const node = await start();
    const forged = '{"level":50,"msg":"forged"}';
    const encoded = encodeURIComponent(`\r\n${forged}\u2028\u0085\u001b[2J`);
    for (const path of [
      `/${encoded}`,
      `/v1/orders/${encoded}`,
      `/webhooks/${encoded}/x`,
      `/webhooks/daraja/${encoded}`,
      `/return/${encoded}`,
      `/docs/${encoded}`,
      `/v1/orders?x=${encoded}`,
    ]) {
      await call(node.url + path, {
        method: path.startsWith("/webhooks") ? "POST" : "GET",
        headers: { "user-agent": forged, "x-request-id": forged, traceparent: forged },
      });
    }
    await pay(node, { description: `\r\n${forged}`, metadata: { [`\n${forged}`]: "\u001b[31m" } });
    await vi.waitUntil(() => node.log.filter((line) => line.includes('"event":"http.request"')).length >= 8);
    for (const line of node.log.join("").split("\n").filter(Boolean)) {
      expect(JSON.parse(line).msg).not.toBe("forged");
      // Without control characters, which a terminal would execute.
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the test looks for them.
      expect(line).not.toMatch(/[\u0000-\u001f\u007f]/);
    }
  });
});

describe("the headers of an answer", () => {
  it("contain nothing that a request injects", async () => {
    const node = await start();
    const { port } = new URL(node.url);
    for (const line of [
      "X-Request-Id: a\rSet-Cookie: b=c",
      "Origin: https://shop.example\rSet-Cookie: b=c",
      "Prefer: wait=1\u0000Set-Cookie: b=c",
    ]) {
      const socket = connect(Number(port), "127.0.0.1");
      let answer = "";
      socket.on("data", (chunk) => (answer += chunk));
      socket.write(`GET /livez%0d%0aSet-Cookie:%20b=c HTTP/1.1\r\nHost: x\r\n${line}\r\nConnection: close\r\n\r\n`);
      await new Promise((resolve) => socket.once("close", resolve));
      expect(answer).toMatch(/^HTTP\/1\.1 4/);
      expect(answer).not.toMatch(/^set-cookie/im);
    }
  });
});

describe("a page of another origin", () => {
  const foreign = [
    "https://evil.example",
    "null",
    "https://shop.example.evil.example",
    "https://shop.example:444",
    "http://shop.example",
    "https://SHOP.example",
    "https://shop.example/",
    "https://shop.example, https://evil.example",
    "file://",
    "",
  ];

  it("opens no WebSocket of either kind and reads no answer", async () => {
    const node = await start({ ALLOWED_ORIGINS: "https://shop.example" });
    const { order, watchToken } = await pay(node);
    const statusOf = (path: string, origin: string): Promise<number | undefined> =>
      new Promise((resolve) => {
        const socket = new WebSocket(node.url.replace("http", "ws") + path, { headers: { origin } });
        onTestFinished(() => socket.terminate());
        socket.on("error", () => resolve(undefined));
        socket.once("upgrade", ({ statusCode }) => resolve(statusCode));
        socket.once("unexpected-response", (_request, { statusCode }) => resolve(statusCode));
      });
    const raw = `/v1/orders/${order.orderId}/socket?token=${watchToken}`;
    const socketIo = "/socket.io/?EIO=4&transport=websocket";
    const polling = await fetch(`${node.url}/socket.io/?EIO=4&transport=polling`);
    const { sid } = JSON.parse((await polling.text()).slice(1)) as { sid: string };
    for (const path of [raw, socketIo])
      expect([path, await statusOf(path, "https://shop.example")]).toEqual([path, 101]);
    for (const origin of foreign) {
      for (const path of [raw, socketIo, `${socketIo}&sid=${sid}`]) {
        expect([origin, path, (await statusOf(path, origin)) === 101]).toEqual([origin, path, false]);
      }
      const { status, headers } = await asMerchant(node, `/v1/orders/${order.orderId}`, undefined, { origin });
      expect([
        origin,
        status,
        headers.get("access-control-allow-origin"),
        headers.get("access-control-allow-credentials"),
      ]).toEqual([origin, 403, null, null]);
    }
  });

  it("answers no prompt and starts no payment with a form", async () => {
    const node = await start();
    for (const path of ["/v1/payments", "/sandbox/phone/prompts/x", "/v1/orders/x/resolve"]) {
      for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]) {
        const { status } = await call(node.url + path, {
          method: "POST",
          headers: { "content-type": type, authorization: `Bearer ${apiKey}` },
          body: '{"answer":"approve"}',
        });
        expect([path, type, status >= 400 && status < 500]).toEqual([path, type, true]);
      }
    }
  });
});

describe("prototypes", () => {
  it("are not polluted by any JSON, query or packet", async () => {
    const node = await start();
    const { watchToken } = await pay(node);
    const traps = [
      '{"__proto__":{"polluted":1}}',
      '{"constructor":{"prototype":{"polluted":1}}}',
      '{"metadata":{"__proto__":{"polluted":1}}}',
      '{"customer":{"__proto__":{"polluted":1}}}',
    ];
    for (const name of providerNames) {
      const secret = createUrlSecrets([testSecret], "webhook").seal(name, "0199f2c4-0000-7000-8000-000000000001");
      for (const body of traps) {
        for (const path of [
          "/v1/payments",
          `/webhooks/${name}`,
          `/webhooks/${name}/${secret}`,
          "/v1/orders/x/resolve",
        ]) {
          const { status } = await call(node.url + path, {
            method: "POST",
            headers: { "content-type": "application/json", authorization: `Bearer ${apiKey}` },
            body,
          });
          expect(status).toBeLessThan(500);
        }
      }
    }
    for (const query of ["__proto__[polluted]=1", "__proto__.polluted=1", "constructor[prototype][polluted]=1"]) {
      expect((await asMerchant(node, `/v1/orders?${query}`)).status).toBe(400);
    }
    const socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    onTestFinished(() => socket.terminate());
    await new Promise((resolve) => socket.once("open", resolve));
    const joined = new Promise((resolve) =>
      socket.on("message", (data) => String(data).startsWith("40") && resolve(undefined)),
    );
    socket.send(`40{"token":"${watchToken}","__proto__":{"polluted":1}}`);
    await joined;
    const answered = new Promise((resolve) =>
      socket.on("message", (data) => String(data).startsWith("431") && resolve(undefined)),
    );
    for (const trap of traps) socket.send(`42["watch",${trap}]`);
    socket.send(`421["watch",{"token":"${watchToken}","__proto__":{"orderId":"x"}}]`);
    await answered;
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe("paths", () => {
  const secrets = [
    JSON.stringify(JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).description),
    "root:x:",
    "TUKIO_SECRET",
  ];
  const traversals = [
    "../package.json",
    "..%2fpackage.json",
    "..%2f..%2fpackage.json",
    "%2e%2e/package.json",
    "..%5c..%5cpackage.json",
    "%252e%252e%252fpackage.json",
    "....//package.json",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "..%00/package.json",
    "file:%2f%2f%2fetc%2fpasswd",
    "__proto__",
    "constructor",
    "toString",
    "%c0%ae%c0%ae%2fpackage.json",
    ".env",
    "index.html%2f..%2f..%2f..%2f..%2fpackage.json",
  ];

  it.each(["docs", "sdk", "shop", "demo", "sandbox", "sandbox/phone", ""])(
    "below /%s reach no other file",
    async (folder) => {
      const node = await start();
      const { port } = new URL(node.url);
      for (const traversal of traversals) {
        // Over a raw connection, because fetch normalizes the path.
        const socket = connect(Number(port), "127.0.0.1");
        let answer = "";
        socket.on("data", (chunk) => (answer += chunk));
        socket.write(`GET /${folder}/${traversal} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        await new Promise((resolve) => socket.once("close", resolve));
        expect([traversal, /^HTTP\/1\.1 (30[1278]|4\d\d) /.test(answer) || answer]).toEqual([traversal, true]);
        for (const secret of secrets) expect(answer).not.toContain(secret);
      }
    },
  );
});

/** Names of fields in which providers send URLs. */
const urlFields = [
  "SubscribeURL",
  "SigningCertURL",
  "SigningCertUrl",
  "UnsubscribeURL",
  "TopicArn",
  "callback_url",
  "callbackURL",
  "returnUrl",
  "url",
  "webhook_url",
  "Message",
  "location",
];

/** Webhooks of a provider with `url` in every field: added ones, and each recorded one in turn. */
function webhooksWith(url: string, provider: string): unknown[] {
  const added = Object.fromEntries(urlFields.map((name) => [name, `${url}/${name}`]));
  const subscription = {
    ...added,
    Type: "SubscriptionConfirmation",
    Token: "x",
    MessageId: "x",
    Timestamp: new Date().toISOString(),
    SignatureVersion: "1",
    Signature: "eA==",
  };
  const recorded = [...webhookFixtures(provider).values()].flatMap(({ body }) => [
    { ...body, ...added },
    ...leavesOf(body)
      .filter((path) => path.length > 0)
      .map((path) => replaced(body, path, `${url}/leaf`)),
  ]);
  return [subscription, ...recorded];
}

describe("URLs in webhooks", () => {
  it("are not called, in any field of any provider", async () => {
    const outside = await startScriptedProvider(() => ({ body: {} }));
    const node = await start({ SANDBOX: providerNames.join(",") });
    const { order } = await pay(node, {
      returnUrl: `${outside.url}/back`,
      metadata: { webhook: outside.url, url: outside.url },
    });
    const headers = {
      "x-amz-sns-message-type": "SubscriptionConfirmation",
      "x-amz-sns-topic-arn": "arn:aws:sns:ap-southeast-1:1:x",
      "content-type": "text/plain",
      referer: outside.url,
      origin: outside.url,
    };
    for (const name of providerNames) {
      const secret = createUrlSecrets([testSecret], "webhook").seal(name, order.payment.id);
      for (const body of webhooksWith(outside.url, name)) {
        for (const path of [`/webhooks/${name}`, `/webhooks/${name}/${secret}`]) {
          const { status } = await call(node.url + path, { method: "POST", headers, body: JSON.stringify(body) });
          // 503 is allowed, because a busy machine's database may not keep up.
          expect([path, status === 503 || status < 500]).toEqual([path, true]);
        }
      }
    }
    await node.close();
    expect(outside.calls.map(({ path }) => path)).toEqual([]);
  });
});

describe("the return page", () => {
  /** A server with only the return page, and a provider with its own payment page. */
  const open = async (returnUrl?: string): Promise<{ url: string; secret: string }> => {
    const secrets = createUrlSecrets([testSecret], "return");
    const id = "0199f2c4-0000-7000-8000-000000000001";
    const payment: Payment = {
      id,
      orderId: "ORD-1",
      attempt: 1,
      provider: "page",
      amountMinor: 1n,
      currency: "BDT",
      ...(returnUrl !== undefined && { returnUrl }),
    };
    const provider = {
      name: "page",
      checkout: { read: () => "approved" as const, complete: async () => undefined },
      confirm: async () => undefined,
    } as unknown as Provider;
    const app = Fastify();
    onTestFinished(() => app.close());
    returnRoutes(app, {
      query: { findByPayment: async () => undefined },
      tokens: { issue: () => ({ watchToken: "", watchTokenExpiresAt: "" }) },
      providers: new Map([["page", provider]]),
      secrets,
      isBlocked: () => false,
      store: {
        recordReturn: async (given) => (given === id ? { payment, status: "succeeded", completes: false } : undefined),
        clearCompletionLock: async () => undefined,
        advance: async () => ({ result: "repeat" }),
        checkNow: async () => undefined,
        slowQueries: async () => undefined,
      },
      check: async () => undefined,
      log: app.log,
      inFlight: createInFlight(),
    });
    return { url: await app.listen({ port: 0, host: "127.0.0.1" }), secret: secrets.seal("page", id) };
  };

  it.each([
    ["https://shop.example/done?a=1#top", "https://shop.example/done?a=1&orderId=ORD-1#top"],
    ["https://shop.example/?orderId=other", "https://shop.example/?orderId=ORD-1"],
    ["https://shop.example/%0d%0aSet-Cookie:%20a=b", "https://shop.example/%0d%0aSet-Cookie:%20a=b?orderId=ORD-1"],
  ])("redirects to the merchant's URL whatever the query is: %s", async (returnUrl, onward) => {
    const { url, secret } = await open(returnUrl);
    for (const query of [
      "",
      "?returnUrl=https://evil.example",
      "?returnUrl[]=https://evil.example&redirect=//evil.example&next=https://evil.example&url=https://evil.example&orderId=evil",
    ]) {
      const { status, headers } = await fetch(`${url}/return/${secret}${query}`, {
        redirect: "manual",
        headers: { referer: "https://evil.example", host: "evil.example", "x-forwarded-host": "evil.example" },
      });
      expect([status, headers.get("location"), headers.get("set-cookie")]).toEqual([303, onward, null]);
      expect(headers.get("referrer-policy")).toBe("no-referrer");
    }
  });

  it.each(["//evil.example", "/%2f%2fevil.example", "\\\\evil.example", "https:evil.example"])(
    "redirects nowhere for a forged secret: %s",
    async (path) => {
      const { url } = await open();
      const response = await fetch(`${url}/return/${encodeURIComponent(path)}`, { redirect: "manual" });
      expect([response.status, response.headers.get("location")]).toEqual([404, null]);
    },
  );

  it.each([
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "//evil.example",
    "https://",
    "ftp://evil.example",
    "https://shop.example/\u0000",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
  ])("has a URL that the start of a payment validates: %s", async (returnUrl) => {
    const node = await start();
    expect(await asMerchant(node, "/v1/payments", paymentBody({ returnUrl }))).toMatchObject({
      status: 400,
      body: { code: "body_invalid", errors: [{ path: "returnUrl" }] },
    });
  });
});
