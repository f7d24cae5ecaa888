/**
 * Random input at every place that parses input from outside. The input is valid and can be stored, or it gets an error of
 * the error table that names the field. Then the same input at a node, over HTTP and Socket.IO.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import fc from "fast-check";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import type { z } from "zod";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { createWatchTokens } from "../../server/auth/watch-token.ts";
import { ConfigError, readConfig } from "../../server/config/config.ts";
import { errorTable, HubError } from "../../server/errors.ts";
import { redactUrl } from "../../server/log.ts";
import { paymentBody } from "../../server/payment/start.ts";
import { addressKey } from "../../server/rate-limit.ts";
import { orderFilter } from "../../server/route/order-list.ts";
import { decision } from "../../server/route/orders.ts";
import { resultBody } from "../../server/route/results.ts";
import { answerBody } from "../../server/sandbox/phone-routes.ts";
import { readTrace } from "../../server/trace.ts";
import { waitQuery } from "../../server/transport/longpoll.ts";
import { unwatchRequest, watchRequest } from "../../server/transport/socketio-message.ts";
import { watchQuery } from "../../server/transport/transport.ts";
import { parseInput, storable } from "../../server/validation.ts";
import { createDatabase } from "../support/database.ts";
import {
  apiKey,
  asMerchant,
  pay,
  paymentBody as paymentOf,
  startNode,
  type TestNode,
  testSecret,
} from "../support/node.ts";
import { byteNoise, fuzz, fuzzTimeoutMs, headerNoise, jsonNoise, jsonNoiseWith } from "./noise.ts";

const schemas: Record<string, z.ZodObject> = {
  paymentBody,
  orderFilter,
  decision,
  resultBody,
  waitQuery,
  watchQuery,
  watchRequest,
  unwatchRequest,
  answerBody,
};

/** Valid values, so that random input gets past the first field. */
const validValues: Record<string, fc.Arbitrary<unknown>> = {
  orderId: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/),
  amountMinor: fc.integer({ min: 1 }),
  currency: fc.stringMatching(/^[A-Z]{3}$/),
  provider: fc.string(),
  paymentId: fc.uuid(),
  as: fc.constantFrom("succeeded", "failed"),
  note: fc.string({ minLength: 1 }),
  id: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/),
  kind: fc.constantFrom("voucher", "ticket", "link", "text"),
  title: fc.string({ minLength: 1 }),
  code: fc.string({ minLength: 1 }),
  url: fc.webUrl(),
  metadata: fc.dictionary(fc.string(), jsonNoise),
  customer: jsonNoiseWith(["id", "name", "email", "phone"]),
  items: fc.array(fc.oneof(jsonNoise, jsonNoiseWith(["name", "quantity", "unitAmountMinor", "sku"]))),
  lang: fc.constantFrom("en", "sw", "bn"),
  returnUrl: fc.webUrl(),
  answer: fc.constant("approve"),
};

const inputFor = (schema: z.ZodObject): fc.Arbitrary<unknown> => {
  const names = Object.keys(schema.shape);
  const some = fc.record(
    Object.fromEntries(names.map((name) => [name, fc.oneof(validValues[name] ?? jsonNoise, jsonNoise)])),
    { requiredKeys: [] },
  );
  return fc.oneof(jsonNoise, jsonNoiseWith(names), some, some);
};

/** All texts in a value, field names included. */
const textsOf = (value: unknown): string[] => {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [key, ...textsOf(inner)]);
};

describe("input validation", () => {
  it.each(Object.entries(schemas))(
    "accepts only storable values of %s, and names the wrong field otherwise",
    { timeout: fuzzTimeoutMs },
    (_, schema) => {
      fc.assert(
        fc.property(inputFor(schema), (input) => {
          try {
            const parsed = parseInput(schema, input);
            const { provider: _name, token: _token, ...kept } = parsed as Record<string, unknown>;
            for (const text of textsOf(kept)) assert(storable(text), JSON.stringify(text));
          } catch (error) {
            assert(error instanceof HubError, String(error));
            assert.equal(errorTable[error.code].status, 400);
            assert(
              error.details.errors === undefined || error.details.errors.every(({ path }) => typeof path === "string"),
            );
          }
        }),
        fuzz(1_000),
      );
      expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
    },
  );

  it("accepts no watch token that Tukio did not issue (G11)", { timeout: fuzzTimeoutMs }, async () => {
    const tokens = createWatchTokens([testSecret], 60);
    const { watchToken } = tokens.issue({ id: "0199f2c4-0000-7000-8000-000000000001", orderId: "ORD-1" });
    const changed = fc
      .tuple(fc.nat(watchToken.length - 1), fc.constantFrom(..."ABCxyz019-_.=+/ "))
      .map(([index, letter]) => watchToken.slice(0, index) + letter + watchToken.slice(index + 1));
    const part = jsonNoiseWith([
      "alg",
      "typ",
      "kid",
      "jku",
      "jwk",
      "x5c",
      "crit",
      "b64",
      "sub",
      "order",
      "exp",
      "aud",
    ]).map((value) => Buffer.from(JSON.stringify(value)).toString("base64url"));
    const made = fc.tuple(part, part, fc.base64String()).map((parts) => parts.join("."));
    await fc.assert(
      fc.asyncProperty(fc.oneof(changed, made, fc.string({ unit: "binary" })), async (token) => {
        if (sameBytes(token, watchToken)) return;
        const error = await tokens.verify(token).then(
          () => assert.fail(`opened by ${token}`),
          (thrown: unknown) => thrown,
        );
        assert(error instanceof HubError && error.code === "token_invalid", String(error));
      }),
      fuzz(1_000),
    );
  });

  it("accepts no URL secret that Tukio did not issue (G7)", { timeout: fuzzTimeoutMs }, () => {
    const secrets = createUrlSecrets([testSecret], "webhook");
    const sealed = secrets.seal("daraja", "0199f2c4-0000-7000-8000-000000000001");
    const changed = fc
      .tuple(fc.nat(sealed.length - 1), fc.constantFrom(..."0123456789abcdefA "))
      .map(([index, digit]) => sealed.slice(0, index) + digit + sealed.slice(index + 1));
    fc.assert(
      fc.property(fc.oneof(changed, fc.stringMatching(/^[0-9a-f]{64}$/), fc.string()), (secret) => {
        assert(secret === sealed || secrets.open("daraja", secret) === undefined);
      }),
      fuzz(1_000),
    );
  });

  it("accepts an environment, or throws a ConfigError", { timeout: fuzzTimeoutMs }, () => {
    const names = [
      "NODE_ENV",
      "PORT",
      "HOST",
      "PUBLIC_URL",
      "DATABASE_URL",
      "REDIS_URL",
      "TUKIO_API_KEY",
      "TUKIO_SECRET",
    ];
    const more = ["ALLOWED_ORIGINS", "TRUSTED_PROXIES", "SANDBOX", "LIMIT_IP", "WATCH_TOKEN_TTL_S", "DARAJA_BASE_URL"];
    const env = fc.dictionary(
      fc.constantFrom(...names, ...more),
      fc.oneof(fc.string(), fc.webUrl(), fc.constant("production")),
    );
    fc.assert(
      fc.property(env, (given) => {
        try {
          readConfig(given);
        } catch (error) {
          assert(error instanceof ConfigError, String(error));
        }
      }),
      fuzz(300),
    );
  });

  it("parses any address, trace and logged URL without an error", {
    timeout: fuzzTimeoutMs,
  }, () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: "binary" }), fc.ipV6(), fc.ipV4(), fc.webUrl({ withQueryParameters: true })),
        (text) => {
          assert(typeof addressKey(text) === "string");
          assert.match(readTrace(text).traceId, /^[0-9a-f]{32}$/);
          const url = `/v1/orders/x?token=${encodeURIComponent(text)}`;
          assert.equal(redactUrl(url), "/v1/orders/x?token=");
        },
      ),
      fuzz(1_000),
    );
  });
});

/** Whether two tokens are equal. The last letter of base64url has unused bits, so two spellings may be the same token. */
const sameBytes = (one: string, other: string): boolean => {
  const [head, claims, signature = ""] = one.split(".");
  const parts = other.split(".");
  return (
    head === parts[0] &&
    claims === parts[1] &&
    Buffer.from(signature, "base64url").equals(Buffer.from(parts[2] ?? "", "base64url"))
  );
};

describe("a node", () => {
  let databaseUrl: string;
  beforeAll(async () => {
    const database = await createDatabase();
    databaseUrl = database.url;
    return database.drop;
  });

  const expectHealthy = async (node: TestNode): Promise<void> => {
    expect((await fetch(`${node.url}/readyz`)).status).toBe(200);
    // On a busy machine the database may not answer in time.
    const isExcused = (line: string): boolean => /sandbox\.request\.failed|connection timeout/.test(line);
    expect(node.log.filter((line) => /"level":[56]0/.test(line) && !isExcused(line))).toEqual([]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  };

  it("answers random input on every route with a problem of the error table, and stays healthy", {
    timeout: fuzzTimeoutMs,
  }, async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node);
    const paths = [
      "/v1/payments",
      "/v1/orders",
      `/v1/orders/${order.orderId}`,
      `/v1/orders/${order.orderId}/resolve`,
      `/v1/orders/${order.orderId}/watch-tokens`,
      "/v1/providers/daraja/token",
      "/webhooks/daraja",
      `/webhooks/daraja/${"0".repeat(64)}`,
      "/return/x",
      "/sandbox/phone/254712345600/prompts",
      "/sandbox/phone/prompts/x",
      "/sandbox/daraja/mpesa/stkpush/v1/processrequest",
      "/docs/x",
      "/socket.io/?EIO=4&transport=polling",
    ];
    const query = fc.dictionary(
      fc.oneof(fc.constantFrom("after", "cursor", "limit", "status", "token"), fc.string()),
      fc.string(),
    );
    const request = fc.record({
      method: fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"),
      path: fc.oneof(fc.constantFrom(...paths), fc.webPath()),
      query,
      body: fc.oneof(
        byteNoise,
        jsonNoiseWith(Object.keys(paymentBody.shape)).map((value) => Buffer.from(JSON.stringify(value))),
      ),
      headers: headerNoise,
      credential: fc.constantFrom(apiKey, watchToken, "nonsense"),
      type: fc.constantFrom(
        "application/json",
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data",
        "x",
      ),
    });
    await fc.assert(
      fc.asyncProperty(request, async ({ method, path, query: given, body, headers, credential, type }) => {
        const search = new URLSearchParams(given).toString();
        const sendable = Object.entries(headers).filter(([name, value]) => isSendable(name, String(value)));
        const response = await fetch(`${node.url}${path}${path.includes("?") ? "&" : "?"}${search}`, {
          method,
          redirect: "manual",
          headers: {
            ...Object.fromEntries(sendable.map(([name, value]) => [name, String(value)])),
            "content-type": type,
            authorization: `Bearer ${credential}`,
          },
          ...(method !== "GET" && method !== "HEAD" && { body: new Uint8Array(body) }),
          signal: AbortSignal.timeout(10_000),
        });
        const { status, headers: answered } = response;
        // Safaricom answers 500 to many client errors, and so does its sandbox.
        assert(status < 500 || path.startsWith("/sandbox/daraja/"), `${method} ${path} ${status}`);
        assert.equal(answered.get("x-powered-by"), null);
        const text = await response.text();
        // These routes have their own error format.
        if (status < 400 || method === "HEAD" || method === "OPTIONS" || /^\/(sandbox|socket\.io|return)\//.test(path))
          return;
        assert.match(answered.get("content-type") ?? "", /^application\/problem\+json/);
        assert.equal(errorTable[JSON.parse(text).code as keyof typeof errorTable].status, status);
      }),
      { ...fuzz(200), numRuns: Math.min(fuzz(200).numRuns, 20_000) },
    );
    await expectHealthy(node);
  });

  it.each(["toString", "constructor", "valueOf", "__defineGetter__"])(
    "refuses an unknown field called %s as it does any other",
    async (name) => {
      const node = await startNode({ databaseUrl });
      const wrong = { status: 400, body: { code: "body_invalid", errors: [{ path: name }] } };
      expect(await asMerchant(node, "/v1/payments", paymentOf({ [name]: 1 }))).toMatchObject(wrong);
      expect(await asMerchant(node, `/v1/orders?${name}=1`)).toMatchObject(wrong);
    },
  );

  it("handles random packets of a Socket.IO connection, and stays healthy", { timeout: fuzzTimeoutMs }, async () => {
    const node = await startNode({ databaseUrl });
    const { watchToken } = await pay(node);
    const packet = fc.oneof(
      fc
        .tuple(
          fc.constantFrom("0", "1", "2", "3", "4", "40", "42", "420", "451-", "4999999-", "43", "44"),
          fc.oneof(
            fc.string({ unit: "binary" }),
            jsonNoise.map((value) => JSON.stringify(value)),
          ),
        )
        .map((parts) => parts.join("")),
      jsonNoise.map((value) => `42${JSON.stringify(["watch", value])}`),
      jsonNoise.map((value) => `421${JSON.stringify(["unwatch", value])}`),
      jsonNoiseWith(["token", "orderId", "after"]).map((value) => `421${JSON.stringify(["watch", value])}`),
      byteNoise.filter(({ length }) => length < 10_000),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(packet, { maxLength: 20 }), async (packets) => {
        const socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
        onTestFinished(() => socket.terminate());
        socket.on("error", () => undefined);
        await once(socket, "open");
        socket.send(`40${JSON.stringify({ token: watchToken })}`);
        for (const one of packets) socket.send(one);
        const closed = once(socket, "close");
        socket.close();
        await closed;
      }),
      { ...fuzz(60), numRuns: Math.min(fuzz(60).numRuns, 20_000) },
    );
    await expectHealthy(node);
  });
});

/** Whether fetch can send the header. */
function isSendable(name: string, value: string): boolean {
  try {
    new Headers([[name, value]]);
    return !["content-length", "connection", "host", "transfer-encoding", "expect", "upgrade", "te"].includes(name);
  } catch {
    return false;
  }
}
