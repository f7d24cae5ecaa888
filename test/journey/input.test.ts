/** Invalid input: each answer names the problem and the field, and no wrong state is stored. */
import { connect } from "node:net";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import { errorTable } from "../../server/errors.ts";
import { displayNameOf } from "../../server/provider/provider.ts";
import { providerNames } from "../../server/provider/registry.ts";
import { testAccount } from "../support/account.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, paymentBody, startNode, type TestNode } from "../support/node.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const start = () => startNode({ databaseUrl });

const post = (node: TestNode, path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
  call(node.url + path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${apiKey}`, ...headers },
    body: new Uint8Array(Buffer.from(body)),
  });

describe("a payment request", () => {
  it.each([
    ["amountMinor", 0, "amount_invalid"],
    ["amountMinor", -15_000, "amount_invalid"],
    ["amountMinor", 15_000.5, "amount_invalid"],
    ["amountMinor", "15000", "amount_invalid"],
    ["amountMinor", 15_001, "amount_invalid"],
    ["amountMinor", 25_000_100, "amount_invalid"],
    ["amountMinor", 2 ** 53, "amount_invalid"],
    ["amountMinor", undefined, "amount_invalid"],
    ["currency", "kes", "currency_invalid"],
    ["currency", "TZS", "currency_invalid"],
    ["currency", undefined, "currency_invalid"],
    ["phone", "junk", "phone_invalid"],
    ["phone", "0712", "phone_invalid"],
    ["phone", "+255712345678", "phone_invalid"],
    ["phone", `+254712345678${"0".repeat(50)}`, "phone_invalid"],
    ["phone", "call 0712345678 now", "phone_invalid"],
    ["phone", "\u0000", "phone_invalid"],
    ["phone", undefined, "phone_invalid"],
    ["phone", 254_712_345_678, "phone_invalid"],
    ["orderId", "", "body_invalid"],
    ["orderId", "-leading", "body_invalid"],
    ["orderId", "a b", "body_invalid"],
    ["orderId", "x".repeat(65), "body_invalid"],
    ["orderId", "'; drop table payment; --", "body_invalid"],
    ["orderId", undefined, "body_invalid"],
    ["provider", 7, "body_invalid"],
    ["description", "a\u0000b", "body_invalid"],
    ["description", "\ud800", "body_invalid"],
    ["customer", { nmae: "x" }, "body_invalid"],
    ["customer", { email: "not an email" }, "body_invalid"],
    ["returnUrl", "javascript:alert(1)", "body_invalid"],
    ["returnUrl", "/relative", "body_invalid"],
    ["metadata", { a: "x".repeat(9_000) }, "body_invalid"],
    ["metadata", Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`k${n}`, 1])), "body_invalid"],
    ["metadata", { "bad\u0000key": 1 }, "body_invalid"],
    ["metadata", { deep: [{ bad: "\u0000" }] }, "body_invalid"],
    ["metadata", [], "body_invalid"],
    ["phone", "+254712345604;ext=1", "phone_invalid"],
    ["amount", 15_000, "body_invalid"],
  ])("is refused with %s %j before anything is stored", async (field, value, code) => {
    const node = await start();
    const body = paymentBody({ [field]: value });
    const answer = await asMerchant(node, "/v1/payments", body);
    expect(answer.status).toBe(400);
    expect(answer.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    expect(answer.body).toMatchObject({ code, status: 400, retryable: false });
    expect(answer.body.errors?.[0]?.path.startsWith(field)).toBe(true);
    if (typeof body.orderId === "string" && /^ORD/.test(body.orderId)) {
      expect((await asMerchant(node, `/v1/orders/${body.orderId}`)).body.code).toBe("order_unknown");
    }
  });

  it.each([
    "0712345678",
    "254712345678",
    "+254712345678",
    "+254 712 345 678",
    "0712-345-678",
    "00254712345678",
    "\u202a+254\u00a0712\u00a0345\u00a0678\u202c",
    "+254 (0) 712 345 678",
    "\u0660\u0667\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
    "0112345678",
  ])("is accepted with the phone %j", async (phone) => {
    const node = await start();
    const { order } = await pay(node, { phone });
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    expect(body.payments[0]?.phone).toBe(phone === "0112345678" ? "+2541*****678" : "+2547*****678");
  });

  it("gets all invalid fields in one answer", async () => {
    const node = await start();
    const { body } = await asMerchant(node, "/v1/payments", {
      orderId: "!",
      amountMinor: "x",
      currency: 1,
      provider: "daraja",
    });
    expect(body.errors?.map(({ path }) => path)).toEqual(["orderId", "amountMinor", "currency"]);
  });

  it("is accepted with a byte order mark", async () => {
    const node = await start();
    expect(await post(node, "/v1/payments", `\ufeff${JSON.stringify(paymentBody())}`)).toMatchObject({ status: 202 });
  });

  it("is refused with the place of the fault when it is not JSON, and without its content", async () => {
    const node = await start();
    const answer = await post(node, "/v1/payments", '{"orderId":"A-1",\n"phone":hunter2}');
    const message =
      "is not JSON: line 2, column 9 needs a value: a string in double quotes, a number, true, false, null, { or [";
    expect(answer).toMatchObject({
      status: 400,
      body: { code: "body_invalid", detail: `body: ${message}`, errors: [{ path: "body", message }] },
    });
    const polluting = await post(node, "/v1/payments", '{"__proto__":{"hunter":2}}');
    expect(polluting.body.detail).toMatch(/^body: has a field with the name "__proto__"/);
    for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
      const { body } = await post(node, "/v1/payments", JSON.stringify(paymentBody()), { "content-type": type });
      expect(body.errors).toEqual([{ path: "Content-Type", message: "must be application/json" }]);
    }
  });

  it("names the providers that are enabled when it names another one", async () => {
    const node = await startNode({ databaseUrl, env: { SANDBOX: "daraja,bkash,zenopay" } });
    const message = "must be an enabled provider: daraja (M-Pesa), zenopay, bkash (bKash)";
    for (const provider of ["mpesa", "mtn", "__proto__", "M-Pesa"]) {
      expect(await asMerchant(node, "/v1/payments", paymentBody({ provider }))).toMatchObject({
        status: 404,
        body: { code: "provider_unknown", detail: `provider: ${message}`, errors: [{ path: "provider", message }] },
      });
    }
    expect(await asMerchant(node, "/v1/providers/mpesa/token", {})).toMatchObject({
      status: 404,
      body: { errors: [{ path: "provider", message }] },
    });
  });

  it.each(providerNames)("names %s as payers know it in every problem", async (provider) => {
    const node = await startNode({ databaseUrl, env: { SANDBOX: provider } });
    const { currencies } = (await asMerchant(node, "/v1/providers")).body.data[0] as unknown as {
      currencies: string[];
    };
    const wrong = [
      { currency: "USX" },
      { amountMinor: 1_000_000_000_001 },
      { phone: "12" },
      { phone: undefined },
      ...(provider === "mtn" || provider === "bkash" ? [] : [{ amountMinor: 15_001 }]),
    ];
    for (const fields of wrong) {
      const body = paymentBody({ provider, currency: currencies[0], phone: "+254712345600", ...fields });
      const { status, body: problem } = await asMerchant(node, "/v1/payments", body);
      // bKash asks for the phone itself.
      if (provider === "bkash" && "phone" in fields && fields.phone === undefined) continue;
      expect(status).toBe(400);
      expect(problem.detail).not.toMatch(new RegExp(`\\b(${providerNames.join("|")})\\b`));
      if (!("phone" in fields)) expect(problem.detail).toContain(displayNameOf(provider));
    }
  });

  it("is refused when it is not JSON, not an object, too large, or pollutes a prototype", async () => {
    const node = await start();
    for (const body of [
      "{",
      "",
      "null",
      "[]",
      '"text"',
      '{"__proto__":{"x":1}}',
      '{"a":{"constructor":{"prototype":{}}}}',
    ]) {
      expect(await post(node, "/v1/payments", body)).toMatchObject({ status: 400, body: { code: "body_invalid" } });
    }
    expect(
      await post(node, "/v1/payments", JSON.stringify(paymentBody({ description: "x".repeat(70_000) }))),
    ).toMatchObject({
      status: 413,
      body: { code: "body_too_large" },
    });
    const nested = `${"[".repeat(15_000)}${"]".repeat(15_000)}`;
    const deep = JSON.stringify(paymentBody({ metadata: { a: 0 } })).replace('"a":0', `"a":${nested}`);
    expect(await post(node, "/v1/payments", deep)).toMatchObject({ status: 400, body: { code: "body_invalid" } });
    expect(
      await post(node, "/v1/payments", "a=b", { "content-type": "application/x-www-form-urlencoded" }),
    ).toMatchObject({
      status: 400,
      body: { code: "body_invalid" },
    });
  });

  it("is refused for an unknown provider, without an API key, or with a watch token", async () => {
    const node = await start();
    expect(await asMerchant(node, "/v1/payments", paymentBody({ provider: "nosuch" }))).toMatchObject({
      status: 404,
      body: { code: "provider_unknown" },
    });
    const { watchToken } = await pay(node);
    for (const authorization of ["", "Bearer wrong", `Basic ${apiKey}`, `Bearer ${watchToken}`]) {
      expect(await post(node, "/v1/payments", JSON.stringify(paymentBody()), { authorization })).toMatchObject({
        status: 401,
        body: { code: "key_invalid" },
      });
    }
    expect(await call(`${node.url}/v1/orders?token=${apiKey}`)).toMatchObject({
      status: 401,
      body: { code: "key_invalid" },
    });
  });

  it("is refused with an invalid Idempotency-Key, and a quoted key equals a bare one", async () => {
    const node = await start();
    const body = paymentBody();
    for (const key of ['""', "x".repeat(256)]) {
      expect(await asMerchant(node, "/v1/payments", body, { "idempotency-key": key })).toMatchObject({
        status: 400,
        body: { code: "body_invalid", errors: [{ path: "Idempotency-Key" }] },
      });
    }
    const key = crypto.randomUUID();
    const first = await asMerchant(node, "/v1/payments", body, { "idempotency-key": key });
    const again = await asMerchant(node, "/v1/payments", body, { "idempotency-key": `"${key}"` });
    expect([first.status, again.status]).toEqual([202, 202]);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.body.order.payment.id).toBe(first.body.order.payment.id);
    expect(again.body.watchToken).toEqual(expect.any(String));
    expect(
      await asMerchant(node, "/v1/payments", { ...body, description: "other" }, { "idempotency-key": key }),
    ).toMatchObject({
      status: 422,
      body: { code: "idempotency_mismatch" },
    });
  });
});

describe("an order id in a path", () => {
  it("may be percent-encoded, and is explained when no order can have it", async () => {
    const node = await start();
    const orderId = `A.b_c:${crypto.randomUUID()}`;
    await pay(node, { orderId });
    for (const path of [orderId, encodeURIComponent(orderId), orderId.replace("A", "%41")]) {
      expect((await asMerchant(node, `/v1/orders/${path}`)).body.order).toMatchObject({ orderId });
    }
    for (const [given, message] of [
      ["#1234", 'must not contain "#"; use for example 1234'],
      ["2024/001", 'must not contain "/"; use for example 2024-001'],
      ["gid://shopify/Order/7", 'must not contain "/"; use for example gid-shopify-Order-7'],
      ["", "must not be empty"],
    ] as const) {
      const wrong = { status: 400, body: { code: "body_invalid", errors: [{ path: "orderId", message }] } };
      expect(await asMerchant(node, `/v1/orders/${encodeURIComponent(given)}`)).toMatchObject(wrong);
      expect(await asMerchant(node, "/v1/payments", paymentBody({ orderId: given }))).toMatchObject(wrong);
    }
  });
});

describe("an unknown path or invalid query", () => {
  it("is explained when only a slash at its end is wrong", async () => {
    const node = await start();
    for (const path of ["/v1/payments/", "/v1/providers/", "/openapi.json/"]) {
      const { status, body } = await asMerchant(node, path, path.includes("payments") ? {} : undefined);
      expect({ status, code: body.code, detail: body.detail }).toEqual({
        status: 404,
        code: "route_unknown",
        detail: "There is no route at this URL. Remove the slash at its end, or add the id that is missing",
      });
    }
  });

  it("has no code of a field that other requests have", async () => {
    const node = await start();
    for (const query of ["currency=KES", "amountMinor=100"]) {
      const { body } = await asMerchant(node, `/v1/orders?${query}`);
      expect(body).toMatchObject({ code: "body_invalid", errors: [{ message: "is not a known field" }] });
    }
  });

  it("gets a problem answer", async () => {
    const node = await start();
    const { order } = await pay(node);
    expect(await call(`${node.url}/nowhere`)).toMatchObject({ status: 404, body: { code: "route_unknown" } });
    expect(await asMerchant(node, "/v1/orders/ORD-unknown")).toMatchObject({
      status: 404,
      body: { code: "order_unknown" },
    });
    expect(await asMerchant(node, "/v1/orders/ORD-unknown/watch-tokens", {})).toMatchObject({
      status: 404,
      body: { code: "order_unknown" },
    });
    for (const query of [
      "status=paid",
      "limit=0",
      "limit=201",
      "limit=x",
      "from=yesterday",
      "cursor=zzz",
      "nosuch=1",
      "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
    ]) {
      const { status, body } = await asMerchant(node, `/v1/orders?${query}`);
      expect({ query, status, code: body.code }).toEqual({ query, status: 400, code: "body_invalid" });
      expect(body.errors?.[0]?.path).toBe(query.includes("to=") ? "to" : query.split("=")[0]);
    }
    for (const path of [
      "/v1/orders/%00",
      "/v1/orders/%00/wait",
      "/v1/orders/%00/events",
      `/v1/orders/${"x".repeat(300)}`,
    ]) {
      const wrong = { code: "body_invalid", errors: [{ path: "orderId" }] };
      expect(await asMerchant(node, path)).toMatchObject({ status: 400, body: wrong });
    }
    expect(await call(`${node.url}/%zz`)).toMatchObject({ status: 400, body: { code: "body_invalid" } });
    for (const query of ["timeout=0", "timeout=61", "timeout=x", "after=-1", "after=1.5.2"]) {
      const { status, body } = await asMerchant(node, `/v1/orders/${order.orderId}/wait?${query}`);
      expect({ query, status, path: body.errors?.[0]?.path }).toEqual({
        query,
        status: 400,
        path: query.split("=")[0],
      });
    }
  });
});

describe("a webhook", () => {
  const stage = async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    await vi.waitUntil(() => node.log.some((line) => line.includes('"event":"provider.initiate.answered"')));
    const path = new URL(push.callbackUrl).pathname;
    const state = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order;
    return { node, push, path, state };
  };

  it("is refused with a forged secret and changes nothing", async () => {
    const { node, path, state } = await stage();
    const forged = path.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
    const refusal = await call(node.url + forged, { method: "POST", body: "{}", headers: { origin: node.url } });
    // Browsers do not post webhooks, so the answer has no CORS headers.
    for (const name of ["content-security-policy", "vary", "access-control-allow-origin"]) {
      expect(refusal.headers.has(name)).toBe(false);
    }
    for (const wrong of [forged, "/webhooks/daraja/guess", `/webhooks/daraja/${"0".repeat(64)}`, "/webhooks/daraja"]) {
      expect(await post(node, wrong, '{"Body":{}}')).toMatchObject({ status: 401, body: { code: "webhook_rejected" } });
    }
    expect(await state()).toMatchObject({ status: "processing", version: 2 });
  });

  it("is accepted with a slash at the end of its URL by POST and PUT, and refused there with a wrong secret", async () => {
    const { node, path, push, state } = await stage();
    expect(await post(node, "/webhooks/daraja/", "{}")).toMatchObject({ status: 401 });
    expect(await post(node, `/webhooks/daraja/${"0".repeat(64)}/`, "{}")).toMatchObject({ status: 401 });
    const body = JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: push.reference, ResultCode: 1032 } } });
    for (const method of ["PUT", "POST"]) {
      expect((await call(`${node.url}${path}/?again=1`, { method, body })).status).toBe(200);
    }
    expect(await state()).toMatchObject({ status: "failed", reason: "cancelled" });
    expect((await call(`${node.url}${path}/`)).headers.get("allow")).toBe("POST, PUT, OPTIONS");
    expect(node.log.join("")).not.toContain(path);
  });

  it("is refused with a wrong secret of any length", async () => {
    const { node } = await stage();
    expect(await post(node, `/webhooks/daraja/${"0".repeat(300)}`, "{}")).toMatchObject({
      status: 401,
      body: { code: "webhook_rejected" },
    });
  });

  it("gets 404 for an unknown provider", async () => {
    const { node, path } = await stage();
    expect(await post(node, path.replace("daraja", "nosuch"), "{}")).toMatchObject({
      status: 404,
      body: { code: "provider_unknown" },
    });
  });

  it("is stored and refused when it is unreadable, whatever its content type", async () => {
    for (const body of [
      "",
      "{",
      "null",
      "[]",
      "{}",
      '{"Body":{"stkCallback":{}}}',
      "<html>",
      Buffer.from([0xff, 0xfe, 0]),
    ]) {
      // Each goes to another payment's URL, because a payment has a limit of stored webhooks.
      const { node, path, state } = await stage();
      for (const type of ["application/json", "text/plain", "nonsense", ""]) {
        expect(await post(node, path, body, { "content-type": type })).toMatchObject({
          status: 400,
          body: { code: "webhook_unreadable" },
        });
      }
      expect(await state()).toMatchObject({ status: "processing", version: 2 });
    }
  });

  it("is refused over 64 KiB, also without a Content-Length", async () => {
    const { node, path } = await stage();
    expect(await post(node, path, "x".repeat(65_537))).toMatchObject({ status: 413, body: { code: "body_too_large" } });
    expect(await post(node, path, "x".repeat(65_536))).toMatchObject({ status: 400 });
  });

  it("makes no wrong state with a NUL in a text field", async () => {
    const { push, state } = await stage();
    const answer = await push.webhook({
      ResultCode: 0,
      CallbackMetadata: {
        Item: [
          { Name: "Amount", Value: 150 },
          { Name: "MpesaReceiptNumber", Value: "R\u0000\u0000" },
        ],
      },
    });
    expect(answer.status).toBe(200);
    expect(await state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
    expect((await state()).payment).not.toHaveProperty("receipt");
  });

  it("proves nothing when it names another payment's reference, and is acknowledged (G7)", async () => {
    const { push, state } = await stage();
    expect((await push.webhook({ CheckoutRequestID: "ws_CO_other", ResultCode: 0 })).status).toBe(200);
    expect(await state()).toMatchObject({ status: "processing", version: 2 });
  });

  it("is accepted by PUT", async () => {
    const { node, push, path, state } = await stage();
    const body = JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: push.reference, ResultCode: 1032 } } });
    expect(
      (await call(node.url + path, { method: "PUT", headers: { "content-type": "application/json" }, body })).status,
    ).toBe(200);
    expect(await state()).toMatchObject({ status: "failed", reason: "cancelled" });
  });

  it("is stored with its headers, except those with credentials", async () => {
    const { node, path } = await stage();
    const credentials = {
      authorization: "Bearer kept-out",
      "Proxy-Authorization": "Basic kept-out",
      cookie: "session=kept-out",
      "x-api-key": "kept-out",
      "X-Callback-Token": "kept-out",
      "x-shared-secret": "kept-out",
      password: "kept-out",
      username: "kept-out",
    };
    const body = JSON.stringify({ kept: crypto.randomUUID() });
    for (const at of [path, `/webhooks/daraja/${"0".repeat(64)}`]) {
      await post(node, at, body, { ...credentials, "user-agent": "Safaricom", "x-signature": "v1" });
    }
    const database = openDatabase(databaseUrl, () => undefined);
    onTestFinished(database.close);
    const { rows } = await database.pool.query("select headers from webhook where body = $1", [Buffer.from(body)]);
    expect(rows).toHaveLength(2);
    for (const { headers } of rows) {
      expect(headers).toMatchObject({
        "user-agent": "Safaricom",
        "x-signature": "v1",
        "content-type": "application/json",
      });
      expect(JSON.stringify(headers)).not.toContain("kept-out");
    }
  });

  it("has a log line for every result, with the payment's id when it is known", async () => {
    const daraja = await startScriptedDaraja();
    const proxy = await startTcpProxy(databaseUrl);
    const node = await startNode({ databaseUrl: proxy.url, env: daraja.env });
    const { order } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    const lineOf = async (name: string) => {
      await vi.waitUntil(() => node.log.some((line) => line.includes(`"event":"${name}"`)), { interval: 10 });
      const lines = node.log.splice(0).map((line) => JSON.parse(line));
      return lines.filter(({ event }) => event === name);
    };
    const { orderId } = order;
    const { id: paymentId } = order.payment;
    expect(await lineOf("provider.initiate.answered")).toMatchObject([
      { paymentId, orderId, provider: "daraja", status: "processing" },
    ]);
    const { pathname } = new URL(push.callbackUrl);
    const forged = `/webhooks/daraja/${"0".repeat(64)}`;
    const common = { provider: "daraja", tookMs: expect.any(Number) };
    const body = JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: push.reference, ResultCode: 1032 } } });
    await post(node, pathname, body);
    expect(await lineOf("webhook.received")).toMatchObject([
      { ...common, paymentId, proof: "secret", result: "applied" },
    ]);
    await post(node, pathname, "{");
    expect(await lineOf("webhook.received")).toMatchObject([
      { ...common, paymentId, proof: "secret", result: "unreadable" },
    ]);
    await post(node, forged, body);
    expect(await lineOf("webhook.received")).toMatchObject([{ ...common, proof: "none", result: "refused" }]);
    await post(node, pathname, "x".repeat(65_537));
    expect(await lineOf("webhook.received")).toMatchObject([{ ...common, proof: "none", result: "failed" }]);
    proxy.cut();
    expect((await post(node, pathname, body)).status).toBe(503);
    expect(await lineOf("webhook.received")).toMatchObject([
      { ...common, paymentId, proof: "secret", result: "failed" },
    ]);
  });

  it("has its duration in the log, and no secret, token, phone or key", async () => {
    const { node, push, path } = await stage();
    await push.webhook();
    await vi.waitUntil(() => node.log.some((line) => line.includes('"event":"webhook.received"')));
    const line = node.log.find((entry) => entry.includes('"event":"webhook.received"')) ?? "";
    expect(JSON.parse(line)).toMatchObject({ provider: "daraja", result: "applied", tookMs: expect.any(Number) });
    const whole = node.log.join("");
    for (const secret of [
      path.split("/").at(-1) ?? "",
      apiKey,
      "254712345600",
      testAccount("daraja").PASSKEY,
      testAccount("daraja").CONSUMER_SECRET,
    ]) {
      expect(whole).not.toContain(secret);
    }
  });
});

describe("the log of requests", () => {
  it("shows the names of query parameters, in any encoding, and never their values", async () => {
    const node = await start();
    const { order, watchToken } = await pay(node);
    for (const name of ["token", "%74oken", "TOKEN", "x"]) {
      await call(`${node.url}/v1/orders/${order.orderId}?${name}=${watchToken}`);
    }
    await vi.waitUntil(() => node.log.filter((line) => line.includes("?")).length >= 4);
    expect(node.log.join("")).not.toContain(watchToken);
    expect(node.log.join("")).toContain("?%74oken=");
  });
});

describe("a trace", () => {
  it("passes from the merchant's request through the log to the provider, and the answer has the request id", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
    const answer = await asMerchant(node, "/v1/payments", paymentBody(), {
      traceparent: `00-${traceId}-00f067aa0ba902b7-01`,
      "x-request-id": "shop-7",
    });
    expect(answer.headers.get("x-request-id")).toBe("shop-7");
    const push = await daraja.nextPush();
    push.accept();
    expect(push.headers.traceparent).toMatch(new RegExp(`^00-${traceId}-(?!00f067aa0ba902b7)[0-9a-f]{16}-01$`));
    await vi.waitUntil(() => node.log.some((line) => line.includes('"event":"provider.initiate.answered"')));
    const lines = node.log.filter((line) => line.includes(traceId));
    expect(lines.some((line) => line.includes('"event":"provider.initiate.answered"'))).toBe(true);
    expect(lines.some((line) => line.includes('"event":"http.request"') && line.includes("shop-7"))).toBe(true);
  });

  it("is replaced when it is invalid, as is a request id that would forge a log line", async () => {
    const node = await start();
    const answer = await call(`${node.url}/livez`, { headers: { traceparent: "00-0-0-0", "x-request-id": "a b" } });
    expect(answer.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  });
});

describe("a rate limit", () => {
  it("refuses payments per phone and per order and requests per address, with a Retry-After", async () => {
    const node = await startNode({ databaseUrl, env: { LIMIT_PHONE: "2", LIMIT_ORDER: "1", LIMIT_IP: "12" } });
    const limited = { status: 429, body: { code: "rate_limited", retryable: true } };
    const { order } = await pay(node, { phone: "+254712345702" });
    expect(
      await asMerchant(node, "/v1/payments", paymentBody({ orderId: order.orderId, phone: "+254712345799" })),
    ).toMatchObject(limited);
    await pay(node, { phone: "0712345702" });
    const refused = await asMerchant(node, "/v1/payments", paymentBody({ phone: "+254712345702" }));
    expect(refused).toMatchObject(limited);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(590);
    await pay(node, { phone: "+254712345799" });
    const more = [];
    for (let requests = 0; requests < 13; requests += 1) more.push((await call(`${node.url}/v1/orders`)).status);
    // Authenticated requests count for the API key.
    expect(more).toEqual([...Array(12).fill(401), 429]);
    expect((await asMerchant(node, "/v1/orders?limit=1")).status).toBe(200);
    const over = await call(`${node.url}/v1/orders`, { headers: { "x-forwarded-for": "203.0.113.9" } });
    expect(over).toMatchObject(limited);
    expect(Number(over.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await call(`${node.url}/socket.io/?EIO=4&transport=polling`)).status).toBe(429);
    expect((await call(`${node.url}/livez`)).status).toBe(200);
  });

  it("of a phone holds for concurrent requests, and refused requests do not count", async () => {
    const node = await startNode({ databaseUrl, env: { LIMIT_PHONE: "3" } });
    const phone = "+254712345798";
    const answers = Array.from({ length: 20 }, () => asMerchant(node, "/v1/payments", paymentBody({ phone })));
    const statuses = (await Promise.all(answers)).map(({ status }) => status).toSorted();
    expect(statuses).toEqual([...Array(3).fill(202), ...Array(17).fill(429)]);
    const other = { phone: "+254712345797" };
    const { order } = await pay(node, other);
    for (let refusals = 0; refusals < 5; refusals += 1) {
      const again = await asMerchant(node, "/v1/payments", paymentBody({ ...other, orderId: order.orderId }));
      expect(again).toMatchObject({ status: 409, body: { code: "payment_in_progress" } });
    }
    for (let more = 0; more < 2; more += 1) await pay(node, other);
    expect((await asMerchant(node, "/v1/payments", paymentBody(other))).status).toBe(429);
  });

  it("never refuses a repeated request with the same idempotency key", async () => {
    const node = await startNode({ databaseUrl, env: { LIMIT_PHONE: "1", LIMIT_ORDER: "1" } });
    const body = paymentBody({ phone: "+254712345796" });
    const key = { "idempotency-key": `lost-${process.pid}` };
    expect((await asMerchant(node, "/v1/payments", body, key)).status).toBe(202);
    const again = await asMerchant(node, "/v1/payments", body, key);
    expect(again.status).toBe(202);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await asMerchant(node, "/v1/payments", { ...body, amountMinor: 100 }, key)).toMatchObject({ status: 422 });
    expect((await asMerchant(node, "/v1/payments", body)).status).toBe(429);
  });
});

describe("the allowed origins", () => {
  it("always include the node's own pages", async () => {
    const env = { ALLOWED_ORIGINS: "https://shop.example", PUBLIC_URL: "https://pay.example/base" };
    const node = await startNode({ databaseUrl, env });
    const statusOf = async (origin: string): Promise<number> =>
      (await asMerchant(node, "/v1/orders?limit=1", undefined, { origin })).status;
    expect(await statusOf("https://pay.example")).toBe(200);
    expect(await statusOf("https://shop.example")).toBe(200);
    expect(await statusOf("https://pay.example.evil")).toBe(403);
  });
});

describe("the server", () => {
  it("answers every error code with the status of the error table", () => {
    for (const { status, title } of Object.values(errorTable)) {
      expect(status).toBeGreaterThanOrEqual(400);
      expect(title).not.toBe("");
    }
  });

  it("keeps running after bytes that are not HTTP", async () => {
    const node = await start();
    const socket = connect(Number(new URL(node.url).port), "127.0.0.1");
    socket.resume().end("\u0000\u0001 nonsense\r\n\r\n");
    await new Promise((resolve) => socket.once("close", resolve));
    expect((await call(`${node.url}/livez`)).status).toBe(200);
  });
});
