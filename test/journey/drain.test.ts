/** A node that shuts down during payments: the work that it finishes, the watchers it disconnects, the requests it refuses. */
import { once } from "node:events";
import { type IncomingMessage, type RequestOptions, request } from "node:http";
import { json } from "node:stream/consumers";
import Fastify from "fastify";
import { io } from "socket.io-client";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { openDatabase } from "../../server/database/pool.ts";
import { createInFlight } from "../../server/in-flight.ts";
import type { Outcome } from "../../server/order/order.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { returnRoutes } from "../../server/route/returns.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, paymentBody, startNode, type TestNode, testSecret } from "../support/node.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { lockOrder, openTestStore, paid } from "../support/store.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/** Starts a payment whose push is not answered, with a watcher per transport. `closings` has each watcher's end. */
async function startWatched(node: TestNode) {
  const { order, watchToken: token } = await pay(node);
  const { orderId } = order;
  const stopped = new AbortController();
  const at = `${node.url}/v1/orders/${orderId}`;
  const socket = new WebSocket(`${at.replace("http", "ws")}/socket?token=${token}`);
  const socketIo = io(node.url, { auth: { token }, transports: ["websocket"], forceNew: true, reconnection: false });
  onTestFinished(() => {
    stopped.abort();
    socket.terminate();
    socketIo.disconnect();
  });
  const polled = call(`${at}/wait?token=${token}&after=1&timeout=60`);
  const [stream] = await Promise.all([
    fetch(`${at}/events?token=${token}`, { signal: stopped.signal }),
    once(socket, "message"),
    new Promise((resolve) => socketIo.once("status", resolve)),
  ]);
  const closings = Promise.all([
    once(socket, "close").then(([code]) => code),
    new Promise((resolve) => socketIo.once("disconnect", resolve)),
    stream.text().then((text) => text.match(/"version":\d+/g)),
    polled.then(({ status, body }) => [status, body.version]),
  ]);
  return { order, closings };
}

/** Sends a request on a new connection, because the node may close a kept-alive one at any moment. */
async function callOnNewConnection(url: string, { body, ...options }: RequestOptions & { body?: unknown } = {}) {
  const sent = request(url, { agent: false, ...options }).end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return { status: response.statusCode, headers: response.headers, body: await json(response) };
}

const drained = [1012, "transport close", ['"version":1'], [200, 1]];

const referenceOf = async (paymentId: string): Promise<unknown> => {
  const database = openDatabase(databaseUrl, () => undefined);
  const { rows } = await database.pool.query("select status, reference from payment where id = $1", [paymentId]);
  await database.close();
  return rows[0];
};

describe("a node that shuts down while a push is in flight", () => {
  it("disconnects every watcher, refuses payments, is not ready, and stores the provider's answer", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order, closings } = await startWatched(node);
    const push = await daraja.nextPush();
    const closed = node.close();
    expect(await closings).toEqual(drained);
    const refused = await callOnNewConnection(`${node.url}/v1/payments`, {
      method: "POST",
      headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
      body: paymentBody(),
    });
    expect(refused).toMatchObject({ status: 503, body: { code: "restarting", retryable: true } });
    expect(refused.headers["retry-after"]).toBe("1");
    expect(node.log.filter((line) => line.includes('"level":50'))).toEqual([]);
    expect(await callOnNewConnection(`${node.url}/readyz`)).toMatchObject({
      status: 503,
      body: { status: "unavailable", postgres: "up", draining: true },
    });
    expect((await callOnNewConnection(`${node.url}/livez`)).status).toBe(200);
    push.accept();
    await closed;
    expect(await referenceOf(order.payment.id)).toEqual({ status: "processing", reference: push.reference });
  });

  it("waits for the answer of the sandbox in the same process", async () => {
    const node = await startNode({ databaseUrl });
    const phone = "+254712345999";
    const { order } = await pay(node, { phone });
    await node.close();
    expect(await referenceOf(order.payment.id)).toMatchObject({ status: "processing" });
  });
});

describe("a payment committed after the node stops listening", () => {
  it("is initiated with the node's webhook URL", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order } = await pay(node);
    const { orderId } = order;
    const first = await daraja.nextPush();
    first.accept();
    expect((await first.webhook({ ResultCode: 1032 })).status).toBe(200);
    const database = openDatabase(databaseUrl, () => undefined);
    onTestFinished(() => database.close());
    const held = await lockOrder(database, orderId);
    const again = asMerchant(node, "/v1/payments", paymentBody({ orderId }));
    await held.waiters(1);
    const closed = node.close();
    await vi.waitUntil(
      () =>
        call(`${node.url}/livez`).then(
          () => false,
          () => true,
        ),
      { timeout: 4_000 },
    );
    await held.release();
    expect((await again).status).toBe(202);
    const second = await daraja.nextPush();
    expect(new URL(second.callbackUrl).port).toBe(new URL(node.url).port);
    second.accept();
    await closed;
  });
});

describe("a payer who returns during shutdown", () => {
  /** Opens a payment whose payer has just returned. The provider completes it when `answer` resolves. */
  const recordReturn = async (graceMs: number, answer: (signal: AbortSignal) => Promise<Outcome>) => {
    const ground = await openTestStore();
    onTestFinished(ground.close);
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, { status: "processing", reference: "r-1", source: "reply" });
    const completing = Promise.withResolvers<void>();
    const checkout: Provider["checkout"] = {
      read: () => "approved",
      async complete(_payment, signal) {
        completing.resolve();
        return { isConclusive: true, outcome: await answer(signal) };
      },
    };
    const provider = { name: "daraja", checkout } as Partial<Provider> as Provider;
    const secrets = createUrlSecrets([testSecret], "return");
    const inFlight = createInFlight(graceMs);
    const app = Fastify();
    onTestFinished(() => app.close());
    const providers = new Map([["daraja", provider]]);
    const check = async () => undefined;
    const query = { findByPayment: async () => ({ order: event, description: null, metadata: null, lang: null }) };
    const tokens = { issue: () => ({ watchToken: "", watchTokenExpiresAt: "" }) };
    const shared = { query, tokens, isBlocked: () => false, log: app.log };
    returnRoutes(app, { ...shared, providers, secrets, store: ground.store, check, inFlight });
    const answered = app.inject(`/return/${secrets.seal("daraja", payment.id)}`);
    await completing.promise;
    return { inFlight, answered, status: async () => (await ground.view(event.orderId)).order.status };
  };

  it("gets the payment completed and stored before the shutdown ends", async () => {
    const held = Promise.withResolvers<Outcome>();
    const { inFlight, answered, status } = await recordReturn(60_000, () => held.promise);
    const closed = inFlight.close();
    held.resolve(paid({ source: "reply" }));
    await closed;
    expect(await status()).toBe("succeeded");
    expect((await answered).statusCode).toBe(200);
  });

  it("delays the shutdown at most for the grace period, and another node then queries the payment", async () => {
    const { inFlight, answered, status } = await recordReturn(5, (signal) =>
      once(signal, "abort").then(() => Promise.reject(new Error("aborted"))),
    );
    await inFlight.close();
    expect(await status()).toBe("processing");
    expect((await answered).statusCode).toBe(200);
  });
});
