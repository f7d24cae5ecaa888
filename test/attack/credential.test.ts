/**
 * Credentials that are forged, expired, for another order or for another purpose, on every way in. None gives access, and
 * each gets its own error code.
 */
import { createHmac, hkdfSync } from "node:crypto";
import { EncryptJWT, SignJWT, UnsecuredJWT } from "jose";
import { io, type Socket } from "socket.io-client";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { providerNames } from "../../server/provider/registry.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { startScriptedDaraja, success } from "../support/scripted-daraja.ts";
import { webhookFixtures } from "./noise.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let node: TestNode;
let order: StatusEvent;
let token: string;
let other: { order: StatusEvent; watchToken: string };
beforeEach(async () => {
  // Longer than a test takes on a slow machine, because some tests expect the payment to stay open.
  node = await startNode({ databaseUrl, env: { DARAJA_DEADLINE_S: "600" } });
  ({ order, watchToken: token } = await pay(node));
  other = await pay(node);
});

function openSocketIo(auth: object): Socket {
  const socket = io(node.url, { auth, transports: ["websocket"], forceNew: true, reconnection: false });
  onTestFinished(() => void socket.disconnect());
  return socket;
}

const onceEvent = (socket: Socket, event: string): Promise<unknown> =>
  new Promise((resolve) => socket.once(event, resolve));

/** The result of a token on each way in: the order's uuid when it gives access, and the error's code otherwise. */
const waysIn: Record<string, (token: string, orderId: string) => Promise<unknown>> = {
  once: (given, orderId) => ask(`/v1/orders/${orderId}`, given),
  "long poll": (given, orderId) => ask(`/v1/orders/${orderId}/wait?after=0`, given),
  "server-sent events": (given, orderId) => ask(`/v1/orders/${orderId}/events`, given),
  WebSocket: (given, orderId) =>
    new Promise((resolve) => {
      const url = `${node.url.replace("http", "ws")}/v1/orders/${orderId}/socket?token=${encodeURIComponent(given)}`;
      const socket = new WebSocket(url);
      onTestFinished(() => socket.terminate());
      socket.once("message", (data) => resolve(JSON.parse(String(data)).id));
      socket.once("close", (_code, reason) => resolve(String(reason)));
    }),
  "Socket.IO handshake": (given, orderId) => {
    const socket = openSocketIo({ token: given, orderId });
    return Promise.race([
      onceEvent(socket, "status").then((event) => (event as StatusEvent).id),
      onceEvent(socket, "disconnect").then(() => "order_unknown"),
      onceEvent(socket, "connect_error").then((error) => (error as { data?: { code: string } }).data?.code),
    ]);
  },
  "Socket.IO watch": async (given, orderId) => {
    const socket = openSocketIo({ token: other.watchToken });
    const { ok, order: found, error } = await socket.emitWithAck("watch", { token: given, orderId });
    return ok ? found.id : error.code;
  },
};

async function ask(path: string, given: string): Promise<unknown> {
  const left = new AbortController();
  onTestFinished(() => left.abort());
  const response = await fetch(node.url + path, { headers: { authorization: `Bearer ${given}` }, signal: left.signal });
  if (response.headers.get("content-type")?.startsWith("text/event-stream")) {
    for await (const chunk of response.body ?? [])
      return JSON.parse(/^data: (.*)$/m.exec(Buffer.from(chunk).toString())?.[1] ?? "").id;
  }
  const body = (await response.json()) as { id?: string; code?: string };
  return body.id ?? body.code;
}

const everywhere = (given: string, orderId = order.orderId): Promise<Record<string, unknown>> =>
  Promise.all(Object.entries(waysIn).map(async ([way, open]) => [way, await open(given, orderId)])).then(
    Object.fromEntries,
  );

const everyWay = (answer: string): Record<string, string> =>
  Object.fromEntries(Object.keys(waysIn).map((way) => [way, answer]));

const inS = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

/** A valid token, except for the given parts. */
const makeToken = ({
  alg = "HS256",
  header = {},
  audience = "tukio:watch",
  key = derived("watch-token"),
  sub = order.id,
  name = order.orderId,
  exp = inS(60),
}: {
  alg?: string;
  header?: object;
  audience?: string;
  key?: Uint8Array | undefined;
  sub?: string;
  name?: string;
  exp?: number;
} = {}): Promise<string> =>
  new SignJWT({ order: name })
    .setProtectedHeader({ alg, ...header })
    .setSubject(sub)
    .setAudience(audience)
    .setExpirationTime(exp)
    .sign(key ?? Buffer.alloc(0));

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

const derived = (purpose: string): Buffer => Buffer.from(hkdfSync("sha256", testSecret, "tukio", purpose, 32));

/** The token's claims under this header, with a signature by this key. */
function signedBy(header: object, key: Uint8Array, hash = "sha256"): string {
  const bytes = `${base64url(header)}.${token.split(".")[1]}`;
  return `${bytes}.${createHmac(hash, key).update(bytes).digest("base64url")}`;
}

describe("a watch token", () => {
  it("opens its order on every way in", async () => {
    expect(await everywhere(await makeToken())).toEqual(everyWay(order.id));
  });

  const forged: Record<string, () => string | Promise<string>> = {
    "without a signature (alg none)": () =>
      new UnsecuredJWT({ order: order.orderId })
        .setSubject(order.id)
        .setAudience("tukio:watch")
        .setExpirationTime(inS(60))
        .encode(),
    "of alg none in mixed case": () => `${base64url({ alg: "nOnE" })}.${token.split(".")[1]}.`,
    "of alg none with a signature": () => `${base64url({ alg: "none" })}.${token.split(".").slice(1).join(".")}`,
    "without an alg": () => signedBy({}, derived("watch-token")),
    "of HS384 with the right key": () => signedBy({ alg: "HS384" }, derived("watch-token"), "sha384"),
    "of HS512 with the right key": () => signedBy({ alg: "HS512" }, derived("watch-token"), "sha512"),
    "that contains its own key": () =>
      signedBy(
        { alg: "HS256", jwk: { kty: "oct", k: Buffer.alloc(32, 1).toString("base64url") } },
        Buffer.alloc(32, 1),
      ),
    "that names a file as its key": () => signedBy({ alg: "HS256", kid: "../../../../dev/null" }, Buffer.alloc(1)),
    "with a critical extension": () => signedBy({ alg: "HS256", crit: ["x"], x: 1 }, derived("watch-token")),
    "with changed claims": () => {
      const [head, claims = "", signature] = token.split(".");
      const changed = { ...JSON.parse(Buffer.from(claims, "base64url").toString()), exp: inS(9_999_999) };
      return [head, base64url(changed), signature].join(".");
    },
    "with a truncated signature": () => token.slice(0, -10),
    "for another audience": () => makeToken({ audience: "tukio:api" }),
    "without an expiry": () =>
      new SignJWT({ order: order.orderId })
        .setProtectedHeader({ alg: "HS256" })
        .setSubject(order.id)
        .setAudience("tukio:watch")
        .sign(derived("watch-token")),
    "whose subject is not a uuid": () => makeToken({ sub: "' or 1=1 --" }),
    "that is encrypted instead of signed": () =>
      new EncryptJWT({ order: order.orderId })
        .setProtectedHeader({ alg: "dir", enc: "A256GCM" })
        .setSubject(order.id)
        .setAudience("tukio:watch")
        .setExpirationTime(inS(60))
        .encrypt(derived("watch-token")),
    "signed with TUKIO_SECRET": () => makeToken({ key: Buffer.from(testSecret) }),
    "signed with the API key": () => makeToken({ key: Buffer.from(apiKey) }),
    "signed with the key for credentials": () => makeToken({ key: derived("credential") }),
    "signed with the key of a webhook's URL": () => makeToken({ key: derived("webhook:daraja") }),
    "signed with the key of a return URL": () => makeToken({ key: derived("return:daraja") }),
    "that is a webhook's secret": () => createUrlSecrets([testSecret], "webhook").seal("daraja", order.payment.id),
    "that is a part of the API key": () => apiKey.slice(0, -1),
  };

  it("opens nothing on any way in when it is forged (G11)", async () => {
    for (const [how, forge] of Object.entries(forged)) {
      expect([how, await everywhere(await forge())]).toEqual([how, everyWay("token_invalid")]);
    }
  });

  it("gets token_expired on every way in after its expiry", async () => {
    expect(await everywhere(await makeToken({ exp: inS(-1) }))).toEqual(everyWay("token_expired"));
  });

  it("opens no other order on any way in (G11)", async () => {
    expect(await everywhere(other.watchToken)).toEqual(everyWay("token_invalid"));
  });

  it("opens no order of the same name with another uuid, as after a new database (G11)", async () => {
    // A token from before the new database: the same name, another uuid.
    const stale = await makeToken({ sub: "0199f2c4-0000-7000-8000-00000000dead" });
    expect(await everywhere(stale)).toEqual(everyWay("order_unknown"));
  });

  it("opens none of the merchant's routes (G11)", async () => {
    for (const [method, path] of [
      ["GET", "/v1/orders"],
      ["POST", "/v1/payments"],
      ["POST", `/v1/orders/${order.orderId}/watch-tokens`],
      ["POST", `/v1/orders/${order.orderId}/resolve`],
      ["GET", "/v1/providers"],
      ["POST", "/v1/providers/daraja/token"],
    ] as const) {
      for (const authorization of [
        `Bearer ${token}`,
        `Basic ${btoa(`:${apiKey}`)}`,
        apiKey,
        `bearer\u00a0${apiKey}`,
        "",
      ]) {
        const answer = await call(`${node.url}${path}?token=${apiKey}`, {
          method,
          headers: {
            authorization,
            "x-api-key": apiKey,
            cookie: `token=${apiKey}`,
            "content-type": "application/json",
          },
          ...(method === "POST" && { body: "{}" }),
        });
        expect([path, answer.status, answer.body.code]).toEqual([path, 401, "key_invalid"]);
      }
    }
    const url = `${node.url}/v1/orders/${order.orderId}`;
    const views = [
      await call(url, { headers: { authorization: `Bearer ${token}` } }),
      // An API key in a URL gives access to watching only.
      await call(`${url}?token=${apiKey}`),
    ];
    for (const { body } of views) {
      // Only the state, without customer and history.
      expect(body).toMatchObject({ id: order.id });
      for (const field of ["order", "payments", "events", "customer", "metadata", "description", "items", "lang"])
        expect(body).not.toHaveProperty(field);
    }
  });

  it("opens its order while its secret is listed, and nothing after it is removed", async () => {
    const next = "a newer secret that the nodes have in common";
    const outgoing = node;
    node = await startNode({ databaseUrl, env: { TUKIO_SECRET: `${next},${testSecret}` } });
    expect(await waysIn.once?.(token, order.orderId)).toBe(order.id);
    // Nodes with the older secret have ended, because a node beside them would not be ready.
    await outgoing.close();
    await node.close();
    node = await startNode({ databaseUrl, env: { TUKIO_SECRET: next } });
    for (const way of ["once", "WebSocket", "Socket.IO handshake"]) {
      expect([way, await waysIn[way]?.(token, order.orderId)]).toEqual([way, "token_invalid"]);
    }
  });
});

describe("the log", () => {
  it("contains no token of an upgrade to a path without a WebSocket", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node);
    for (const path of [`/v1/orders/${order.orderId}/events`, "/livez", "/nowhere", "/%zz"]) {
      const socket = new WebSocket(`${node.url.replace("http", "ws")}${path}?token=${watchToken}`);
      onTestFinished(() => socket.terminate());
      await new Promise((resolve) => socket.once("error", resolve));
    }
    expect(node.log.filter((line) => line.includes(watchToken))).toEqual([]);
  });
});

describe("a URL secret", () => {
  const purposes = ["webhook", "return"] as const;

  /** The different statuses that a provider's recorded webhooks get at the URL with this secret. */
  const webhookStatuses = async (provider: string, secret: string): Promise<number[]> => {
    const statuses = new Set<number>();
    for (const { body, headers = {} } of webhookFixtures(provider).values()) {
      const request = { method: "POST", headers, body: JSON.stringify(body) };
      statuses.add((await call(`${node.url}/webhooks/${provider}/${secret}`, request)).status);
    }
    return [...statuses];
  };

  it("opens one purpose of one provider, and nothing else (G7)", async () => {
    const env = { SANDBOX: providerNames.join(",") };
    node = await startNode({ databaseUrl, env });
    const paymentId = order.payment.id;
    for (const of of providerNames) {
      for (const purpose of purposes) {
        const secret = createUrlSecrets([testSecret], purpose).seal(of, paymentId);
        const others = providerNames.filter((at) => at !== of || purpose !== "webhook");
        for (const at of others)
          expect([of, purpose, at, await webhookStatuses(at, secret)]).toEqual([of, purpose, at, [401]]);
      }
      const webhookSecret = createUrlSecrets([testSecret], "webhook").seal(of, paymentId);
      const url = `${node.url}/return/${webhookSecret}?status=success&paymentID=x`;
      const returned = await fetch(url, { redirect: "manual" });
      expect([of, returned.status, returned.headers.get("location")]).toEqual([of, 404, null]);
    }
    expect((await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order).toMatchObject({
      version: expect.any(Number),
      settled: false,
    });
  });

  it("is valid in one spelling only", async () => {
    const daraja = await startScriptedDaraja();
    node = await startNode({ databaseUrl, env: daraja.env });
    await pay(node);
    const push = await daraja.nextPush();
    const { pathname } = new URL(push.callbackUrl);
    const secret = pathname.split("/").at(-1) ?? "";
    const body = JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: push.reference, ...success() } } });
    for (const wrong of [
      secret.toUpperCase(),
      ` ${secret}`,
      `${secret}%00`,
      `${secret}%0a`,
      // One slash at the end belongs to the path, which accepts it.
      `${secret}//`,
      `${secret}%2f`,
      `${secret}/x`,
      `0x${secret}`,
      secret.slice(1),
      `${secret}${secret}`,
    ]) {
      const { status } = await call(`${node.url}/webhooks/daraja/${wrong}`, { method: "POST", body });
      expect([wrong.length, [401, 404].includes(status)]).toEqual([wrong.length, true]);
    }
    for (const wrong of [
      `/webhooks/daraja/${secret}`,
      `/WEBHOOKS/daraja/${secret}`,
      `/webhooks/DARAJA/${secret}`,
      `/webhooks//${secret}`,
    ]) {
      const { status } = await call(`${node.url}${wrong}`, { method: "GET" });
      expect([wrong, [404, 405].includes(status)]).toEqual([wrong, true]);
    }
    push.accept();
  });

  it("accepts no replayed webhook of an earlier attempt, because its reference differs (G7)", async () => {
    const daraja = await startScriptedDaraja();
    node = await startNode({ databaseUrl, env: daraja.env });
    const { order: bought } = await pay(node);
    const first = await daraja.nextPush();
    first.accept();
    await first.webhook({ ResultCode: 1032 });
    await pay(node, { orderId: bought.orderId });
    const second = await daraja.nextPush();
    second.accept();
    const state = async () => (await asMerchant(node, `/v1/orders/${bought.orderId}`)).body.order;
    await vi.waitUntil(async () => (await state()).status === "processing");
    const { version } = await state();
    // The first attempt's failure, and a forged success with its reference, at the second attempt's URL.
    for (const callback of [{ ResultCode: 1032 }, success()]) {
      const { status } = await call(second.callbackUrl, {
        method: "POST",
        body: JSON.stringify({ Body: { stkCallback: { ...callback, CheckoutRequestID: first.reference } } }),
      });
      expect(status).toBe(200);
    }
    expect(await state()).toMatchObject({ status: "processing", version, payment: { attempt: 2 } });
  });
});

describe("the sandbox's accounts", () => {
  it("are unknown to a node with other credentials", async () => {
    const daraja = await startScriptedDaraja();
    node = await startNode({ databaseUrl, env: daraja.env });
    for (const name of providerNames) {
      const path = `${node.url}/sandbox/${name}/`;
      expect((await call(path)).status).toBe(404);
    }
    expect((await call(`${node.url}/sandbox/phone/254712345600/prompts`)).status).toBe(404);
  });
});
