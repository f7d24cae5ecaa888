/** Calls that fail: which are repeated, and what the error says. The server is scripted, because a node fails seldom. */
import type { ServerResponse } from "node:http";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { type ClientOptions, createTukio, type Tukio, TukioError } from "../../merchant-sdk/index.ts";
import { broken, json, problem, type ScriptedApi, silent, startScriptedApi } from "../support/scripted-api.ts";

const apiKey = "a-secret-key-that-nobody-may-see";

async function start(options: Partial<ClientOptions> = {}): Promise<{ api: ScriptedApi; tukio: Tukio }> {
  const api = await startScriptedApi();
  return { api, tukio: createTukio({ url: api.url, apiKey, ...options }) };
}

/** The error of a call, which must fail. */
async function errorOf(call: Promise<unknown>): Promise<TukioError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof TukioError)) throw new Error("the call did not fail as it should", { cause: error });
  expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(apiKey);
  expect(JSON.stringify(error)).not.toContain(apiKey);
  return error;
}

const payment = { orderId: "ORD-1", amountMinor: 15_000, currency: "KES", provider: "daraja", phone: "0712345601" };
const started = { order: { orderId: "ORD-1" }, watchToken: "token", watchTokenExpiresAt: "2026-11-22T09:20:02.000Z" };

describe("a payment", () => {
  it("is sent again after a broken connection, 429, 502 and 503, with the same key", async () => {
    const { api, tukio } = await start({ retries: 4 });
    const proxy = json(502, "Bad gateway", { "retry-after": "0" });
    api.script(broken, problem(429, "rate_limited"), proxy, problem(503, "restarting"), json(202, started));
    expect(await tukio.payments.start(payment)).toEqual(started);
    expect(api.received).toHaveLength(5);
    for (const { headers, body } of api.received) {
      expect(headers["idempotency-key"]).toMatch(/^[\da-f-]{36}$/);
      expect(headers["idempotency-key"]).toBe(api.received[0]?.headers["idempotency-key"]);
      expect(headers.authorization).toBe(`Bearer ${apiKey}`);
      expect(JSON.parse(body)).toEqual(payment);
    }
  });

  it("has the caller's key and wait, and another key for each call", async () => {
    const { api, tukio } = await start();
    api.script(json(202, started));
    await tukio.payments.start(payment, { idempotencyKey: "cart-7f3a", waitS: 5 });
    await tukio.payments.start(payment);
    await tukio.payments.start(payment);
    const [first, ...others] = api.received.map(({ headers }) => headers);
    expect(first).toMatchObject({ "idempotency-key": "cart-7f3a", prefer: "wait=5" });
    expect(new Set(others.map((one) => one["idempotency-key"])).size).toBe(2);
    expect(others[0]).not.toHaveProperty("prefer");
  });
});

describe("a call that may not be repeated", () => {
  it.each([
    ["a broken connection", broken, "unreachable"],
    ["503", problem(503, "store_unavailable"), "store_unavailable"],
  ])("is sent once when it meets %s", async (_name, reply, code) => {
    const { api, tukio } = await start();
    api.script(reply);
    expect(await errorOf(tukio.endpoints.create({ url: "https://shop.example.com" }))).toMatchObject({ code });
    expect(api.received).toHaveLength(1);
  });

  it("is sent again after 429, because nothing was done", async () => {
    const { api, tukio } = await start();
    api.script(problem(429, "rate_limited"), json(201, { endpoint: { id: "1" }, secret: "whsec_" }));
    expect((await tukio.endpoints.create({ url: "https://shop.example.com" })).endpoint.id).toBe("1");
  });
});

describe("retries", () => {
  it("end after the given number, and the last error is thrown", async () => {
    const { api, tukio } = await start({ retries: 2 });
    api.script(problem(503, "restarting"), problem(503, "restarting"), problem(503, "not_ready"));
    expect(await errorOf(tukio.orders.read("ORD-1"))).toMatchObject({
      code: "not_ready",
      status: 503,
      retryable: true,
    });
    expect(api.received).toHaveLength(3);
  });

  it("leave a long Retry-After to the caller", async () => {
    const { api, tukio } = await start();
    api.script(problem(429, "rate_limited", { "retry-after": "600" }));
    expect(await errorOf(tukio.payments.start(payment))).toMatchObject({ status: 429, retryAfterMs: 600_000 });
    expect(api.received).toHaveLength(1);
  });

  it("do not follow an answer that would be the same again", async () => {
    const { api, tukio } = await start();
    api.script(problem(409, "order_paid"));
    expect(await errorOf(tukio.payments.start(payment))).toMatchObject({ code: "order_paid", status: 409 });
    api.script(problem(500, "internal"));
    expect(await errorOf(tukio.orders.read("ORD-1"))).toMatchObject({ code: "internal" });
    expect(api.received).toHaveLength(2);
  });
});

describe("a call", () => {
  it("ends at its time limit", async () => {
    const { tukio } = await start({ retries: 0, timeoutMs: 20 });
    const error = await errorOf(tukio.orders.read("ORD-1"));
    expect(error).toMatchObject({ code: "timeout", status: undefined, retryable: true });
    expect(error.message).toContain("did not answer within 0.02 s");
  });

  it("ends with the reason of its signal, also while it waits to be sent again", async () => {
    const { api, tukio } = await start();
    const during = new AbortController();
    api.script(silent);
    const call = tukio.orders.read("ORD-1", { signal: during.signal });
    during.abort(new Error("the payer left"));
    await expect(call).rejects.toThrow("the payer left");
    const between = new AbortController();
    api.script((response, request) => {
      problem(503, "restarting", { "retry-after": "15" })(response, request);
      response.once("finish", () => between.abort(new Error("the payer left too")));
    });
    await expect(tukio.orders.read("ORD-1", { signal: between.signal })).rejects.toThrow("the payer left too");
  });

  it("names a server that is not there", async () => {
    const tukio = createTukio({ url: "http://127.0.0.1:9", apiKey, retries: 0 });
    const { message, code } = await errorOf(tukio.providers.list());
    expect({ code, message }).toEqual({
      code: "unreachable",
      message: expect.stringMatching(/^http:\/\/127\.0\.0\.1:9 cannot be reached: /),
    });
  });

  it.each([
    ["an error that is not Tukio's", json(404, { message: "Not found" })],
    ["a page", (response: ServerResponse) => void response.end("<!doctype html>")],
    ["a redirect", json(301, {}, { location: "https://elsewhere.example.com/" })],
  ])("takes %s for another server's answer", async (_name, reply) => {
    const { api, tukio } = await start();
    api.script(reply);
    const error = await errorOf(tukio.payments.start(payment));
    expect(error).toMatchObject({ code: "answer_invalid", retryable: false });
    expect(error.message).toContain("check the URL");
    expect(api.received).toHaveLength(1);
  });

  it("sends the key to no other server", async () => {
    const stranger = await startScriptedApi();
    const { api, tukio } = await start({ retries: 0 });
    api.script(json(307, {}, { location: stranger.url }));
    await errorOf(tukio.orders.read("ORD-1"));
    expect(stranger.received).toEqual([]);
  });

  it("is sent below the path of the address, with its ids encoded", async () => {
    const api = await startScriptedApi();
    api.script(problem(404, "order_unknown"));
    const tukio = createTukio({ url: `${api.url}/tukio/`, apiKey });
    await errorOf(tukio.orders.read("a/b?c"));
    expect(api.received[0]?.path).toBe("/tukio/v1/orders/a%2Fb%3Fc");
  });

  it("throws a mistake of the program as it is", async () => {
    const { api, tukio } = await start();
    await expect(tukio.payments.start(payment, { idempotencyKey: "চা" })).rejects.toThrow(TypeError);
    expect(api.received).toEqual([]);
  });
});

describe("createTukio", () => {
  it("refuses a wrong key without showing it", () => {
    for (const wrong of ["", `${apiKey}\n`, `${apiKey} ${apiKey}`, undefined as unknown as string]) {
      expect(() => createTukio({ url: "http://localhost:3000", apiKey: wrong })).toThrow(/^apiKey must be the API key/);
    }
  });

  it("refuses a wrong address", () => {
    for (const url of [
      "",
      "localhost:3000",
      "ftp://a.example.com",
      "http://a.example.com/?b",
      "http://key@a.example.com",
    ])
      expect(() => createTukio({ url, apiKey })).toThrow(/^url must be/);
  });

  it("shows no key when the client is printed", () => {
    const tukio = createTukio({ url: "http://localhost:3000", apiKey });
    expect(inspect(tukio, { depth: 10, showHidden: true })).not.toContain(apiKey);
  });
});
