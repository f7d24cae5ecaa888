/**
 * The contract that every transport of the SDK fulfils, over real nodes, and then the particulars of each transport. The
 * behaviour of a watch that does not depend on the transport is in watch.test.ts.
 */
import { createServer, type IncomingMessage, type ServerResponse, request as send } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { SignJWT } from "jose";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import {
  eventSource,
  longPoll,
  type OrderWatch,
  type StatusEvent,
  socketIo,
  type Transport,
  type WatchOptions,
  watchOrder,
  webSocket,
} from "../../client-sdk/index.ts";
import { deriveTokenKeys } from "../../server/auth/keys.ts";
import { createDatabase } from "../support/database.ts";
import { eventOf } from "../support/event.ts";
import { startNetwork } from "../support/network.ts";
import { apiKey, asMerchant, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { type HeldPush, type ScriptedDaraja, startScriptedDaraja } from "../support/scripted-daraja.ts";

const transports: [string, () => Transport][] = [socketIo, webSocket, eventSource, longPoll].map((create) => [
  create().name,
  create,
]);

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let daraja: ScriptedDaraja;
let node: TestNode;
beforeEach(async () => {
  daraja = await startScriptedDaraja();
  node = await startNode({ databaseUrl, env: daraja.env });
});

interface Started {
  order: StatusEvent;
  orderId: string;
  token: string;
  push: HeldPush;
}

/** Starts a payment and lets the provider accept it: version 2. */
async function startPayment(): Promise<Started> {
  const { order, watchToken: token } = await pay(node);
  const push = await daraja.nextPush();
  push.accept();
  const { orderId } = order;
  await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.version === 2);
  return { order, orderId, token, push };
}

const tokenFor = (order: StatusEvent, expiresAtS: number): Promise<string> =>
  new SignJWT({ order: order.orderId })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(order.id)
    .setAudience("tukio:watch")
    .setExpirationTime(expiresAtS)
    .sign(deriveTokenKeys([testSecret])[0] ?? Buffer.alloc(0));

const inS = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

interface Watching {
  watch: OrderWatch;
  /** The received versions, in order. */
  versions: number[];
  isOpen(): Promise<unknown>;
  has(version: number): Promise<unknown>;
}

function start(options: Omit<WatchOptions, "url"> & { url?: string }): Watching {
  const watch = watchOrder({ url: node.url, ...options });
  onTestFinished(watch.close);
  const versions: number[] = [];
  watch.subscribe(({ event }) => {
    if (event && event.version !== versions.at(-1)) versions.push(event.version);
  });
  const until = (fits: () => boolean): Promise<unknown> => vi.waitUntil(fits, { interval: 5 });
  return {
    watch,
    versions,
    isOpen: () => until(() => watch.snapshot().connection === "open"),
    has: (version) => until(() => (watch.snapshot().event?.version ?? 0) >= version),
  };
}

/** Starts a server that answers every request with `answer`. */
async function startServer(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Starts a proxy that accepts WebSocket upgrades and never answers them. It forwards everything else. */
async function startUpgradeDropper(target: string): Promise<{ url: string; dropped: Socket[] }> {
  const { port } = new URL(target);
  const dropped: Socket[] = [];
  const server = createTcpServer((near) => {
    near.on("error", () => undefined);
    near.once("data", (head) => {
      if (/^upgrade: websocket/im.test(head.toString())) {
        dropped.push(near.resume());
        return;
      }
      const far = connect(Number(port), "127.0.0.1");
      far.on("error", () => near.destroy()).on("close", () => near.destroy());
      near.on("close", () => far.destroy());
      far.write(head);
      near.pipe(far).pipe(near);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, dropped };
}

describe.each(transports)("transport %s", (name, create) => {
  it("delivers the current state, then newer ones, and reports its name", async () => {
    const { orderId, token, push } = await startPayment();
    const { watch, versions, isOpen, has } = start({ orderId, token, transports: [create()] });
    await has(2);
    await isOpen();
    expect(watch.snapshot().transport).toBe(name);
    await push.webhook();
    expect(await watch.settled()).toEqual((await asMerchant(node, `/v1/orders/${orderId}`)).body.order);
    expect(versions).toEqual([2, 3]);
  });

  it("asks for the server's time, and the watch shows the state as GET returns it", async () => {
    const { orderId, token } = await startPayment();
    const stopped = new AbortController();
    onTestFinished(() => stopped.abort());
    const { promise: arrived, resolve } = Promise.withResolvers<unknown>();
    const listener = { onOpen: () => undefined, onEvent: resolve };
    const ended = create().run({ url: node.url, orderId, token, after: 0 }, listener, stopped.signal);
    ended.catch(() => undefined); // Aborted.
    const { order } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    expect(await arrived).toStrictEqual({ ...order, sentAt: expect.any(String) });
    const { watch, has } = start({ orderId, token, transports: [create()] });
    await has(2);
    expect(watch.snapshot().event).toStrictEqual(order);
  });

  it("delivers the results of a paid order, and a change of them", async () => {
    const { orderId, token, push } = await startPayment();
    const { watch, isOpen, has } = start({ orderId, token, transports: [create()] });
    await has(2);
    await isOpen();
    await push.webhook();
    await watch.settled();
    const result = { id: "seat-A1", kind: "ticket", title: "Seat A1", code: "TUK-7F3A" } as const;
    await asMerchant(node, `/v1/orders/${orderId}/results`, result);
    await has(4);
    expect(watch.snapshot().event?.results).toEqual([result]);
  });

  it("opens without a state if there is no newer one, and then delivers newer ones", async () => {
    const { orderId, token, push } = await startPayment();
    const { watch, versions, isOpen } = start({ orderId, token, transports: [create()], after: 2 });
    await isOpen();
    expect(watch.snapshot().event).toBeUndefined();
    await push.webhook();
    await watch.settled();
    expect(versions).toEqual([3]);
  });

  it("continues from the last version after the network cut the connection and was down for a while", async () => {
    const { orderId, token, push } = await startPayment();
    const network = await startNetwork(node.url);
    const { watch, versions, isOpen, has } = start({ url: network.url, orderId, token, transports: [create()] });
    await has(2);
    await isOpen();
    network.refuse(true);
    network.cut();
    await vi.waitUntil(() => watch.snapshot().connection === "waiting");
    await push.webhook();
    const refused = network.accepted();
    await vi.waitUntil(() => network.accepted() > refused);
    network.refuse(false);
    await watch.settled();
    expect(versions).toEqual([2, 3]);
    expect(watch.snapshot().error).toBeUndefined();
  });

  it("continues from the last version when another node replaces its node at the same address", async () => {
    const { orderId, token, push } = await startPayment();
    const { watch, versions, isOpen, has } = start({ orderId, token, transports: [create()] });
    await has(2);
    await isOpen();
    const { port } = new URL(node.url);
    await node.close();
    await startNode({ databaseUrl, env: { ...daraja.env, PORT: port } });
    await push.webhook();
    await watch.settled();
    expect(versions).toEqual([2, 3]);
  });

  it("delivers the missed state as soon as the page is visible again, though the network died silently", async () => {
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    vi.stubGlobal("document", document);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { orderId, token, push } = await startPayment();
    const network = await startNetwork(node.url);
    const { watch, isOpen, has } = start({ url: network.url, orderId, token, transports: [create()] });
    await has(2);
    await isOpen();
    network.freeze();
    await push.webhook();
    const visibleAt = performance.now();
    document.dispatchEvent(new Event("visibilitychange"));
    expect((await watch.settled()).version).toBe(3);
    // A poll may reuse another dead connection, which must time out first.
    expect(performance.now() - visibleAt).toBeLessThan(name === "longpoll" ? 8_000 : 1_500);
  });

  it("continues with a fresh token when its own expires, without a missed or repeated state", async () => {
    const { order, orderId, token, push } = await startPayment();
    const refreshToken = vi.fn(async () => token);
    const first = await tokenFor(order, inS(2));
    const { watch, versions, has } = start({ orderId, token: first, refreshToken, transports: [create()] });
    await has(2);
    await vi.waitUntil(() => refreshToken.mock.calls.length === 1, { timeout: 40_000 });
    await push.webhook();
    await watch.settled();
    expect(versions).toEqual([2, 3]);
    expect(refreshToken).toHaveBeenCalledTimes(1);
  }, 60_000);

  it("ends with the code of a refused token, an expired token or an unknown order", async () => {
    const { order, orderId, token } = await startPayment();
    for (const [refused, code] of [
      [{ orderId, token: `${token}x` }, "token_invalid"],
      [{ orderId: "ORD-other", token }, "token_invalid"],
      [{ orderId, token: await tokenFor(order, inS(-1)) }, "token_expired"],
      [{ orderId: "ORD-nowhere", token: apiKey }, "order_unknown"],
    ] as const) {
      const { watch } = start({ ...refused, transports: [create()] });
      await expect(watch.settled()).rejects.toMatchObject({ name: "WatchError", code });
    }
  });

  it("ends with route_unknown at an address below the server's", async () => {
    const { orderId, token } = await startPayment();
    const { watch } = start({ url: `${node.url}/v1`, orderId, token, transports: [create(), longPoll()] });
    await expect(watch.settled()).rejects.toMatchObject({ name: "WatchError", code: "route_unknown" });
  });

  it("fetches one fresh token if it starts with an expired one, and ends if the fresh one has expired too", async () => {
    const { order, orderId, token } = await startPayment();
    const old = await tokenFor(order, inS(-1));
    const good = start({ orderId, token: old, refreshToken: () => token, transports: [create()] });
    await good.has(2);
    const bad = start({ orderId, token: old, refreshToken: () => old, transports: [create()] });
    await expect(bad.watch.settled()).rejects.toMatchObject({ code: "token_expired" });
  });

  it("releases everything when it is closed", async () => {
    const { orderId, token } = await startPayment();
    const watchings = Array.from({ length: 3 }, () => start({ orderId, token, transports: [create()] }));
    await Promise.all(watchings.map(({ isOpen }) => isOpen()));
    await vi.waitUntil(() => node.watchedOrders() === 1);
    for (const { watch } of watchings) watch.close();
    await vi.waitUntil(() => node.watchedOrders() === 0);
  });

  it("keeps retrying at an address where another server answers", async () => {
    const url = await startServer((_request, response) => response.writeHead(200).end("<h1>Welcome to our Wi-Fi</h1>"));
    const { watch } = start({ url, orderId: "ORD-1", token: "any", transports: [create()] });
    await vi.waitUntil(() => watch.snapshot().connection === "waiting");
    expect(watch.snapshot().error).toBeUndefined();
  });
});

describe("transport choice", () => {
  it("prefers Socket.IO", async () => {
    const { orderId, token } = await startPayment();
    const { watch, isOpen } = start({ orderId, token });
    await isOpen();
    expect(watch.snapshot().transport).toBe("socketio");
  });

  it("falls back to the long poll behind a proxy that passes no WebSocket", async () => {
    const { orderId, token, push } = await startPayment();
    const url = await startServer((request, response) => {
      const { authorization = "" } = request.headers;
      fetch(node.url + request.url, { headers: { authorization } }).then(
        async (answer) => response.writeHead(answer.status).end(await answer.text()),
        () => response.destroy(),
      );
    });
    const { watch, isOpen, has } = start({ url, orderId, token });
    await has(2);
    await isOpen();
    expect(watch.snapshot().transport).toBe("longpoll");
    await push.webhook();
    expect((await watch.settled()).status).toBe("succeeded");
  });

  it("tries the next transport at once when a proxy removes `Upgrade` and the node answers 426", async () => {
    const { orderId, token, push } = await startPayment();
    const answered: [string, number | undefined][] = [];
    const url = await startServer((request, response) => {
      const { connection: _connection, upgrade: _upgrade, ...headers } = request.headers;
      const onward = send(node.url + request.url, { headers, agent: false }, (answer) => {
        answered.push([new URL(url + request.url).pathname.split("/").at(-1) ?? "", answer.statusCode]);
        const { connection: _hop, upgrade: _offer, ...passed } = answer.headers;
        response.writeHead(answer.statusCode ?? 502, passed);
        answer.pipe(response);
      });
      onward.on("error", () => response.destroy()).end();
      response.once("close", () => onward.destroy());
    });
    const { watch, isOpen, has } = start({ url, orderId, token, transports: [webSocket(), eventSource()] });
    await has(2);
    await isOpen();
    expect(answered).toEqual([
      ["socket", 426],
      ["events", 200],
    ]);
    expect(watch.snapshot()).toMatchObject({ transport: "eventsource" });
    await push.webhook();
    expect((await watch.settled()).status).toBe("succeeded");
  });

  it("shows the first state over the long poll while a proxy silently drops upgrades, and keeps that link", async () => {
    const { orderId, token, push } = await startPayment();
    const proxy = await startUpgradeDropper(node.url);
    const { watch, versions, has } = start({ url: proxy.url, orderId, token });
    await has(2);
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "longpoll" });
    // The state did not wait until Socket.IO gave up.
    expect(proxy.dropped).toHaveLength(1);
    expect(proxy.dropped[0]?.destroyed).toBe(false);
    await vi.waitUntil(() => proxy.dropped[0]?.destroyed, { timeout: 10_000 });
    await push.webhook();
    await watch.settled();
    expect(versions).toEqual([2, 3]);
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "longpoll" });
    expect(proxy.dropped).toHaveLength(1);
    watch.close();
    await vi.waitUntil(() => node.watchedOrders() === 0);
  });

  it("leaves no link behind when it is closed while a proxy silently drops upgrades", async () => {
    const { orderId, token } = await startPayment();
    const proxy = await startUpgradeDropper(node.url);
    const { watch, has } = start({ url: proxy.url, orderId, token });
    await has(2);
    watch.close();
    await vi.waitUntil(() => node.watchedOrders() === 0 && proxy.dropped.every(({ destroyed }) => destroyed));
  });

  it("finds a server below a path, with every transport", async () => {
    const requested: string[] = [];
    const url = await startServer((request, response) => {
      requested.push(request.url ?? "");
      response.writeHead(404).end();
    });
    for (const [, create] of transports)
      start({ url: `${url}/pay/`, orderId: "ORD 1", token: "t", transports: [create()] });
    await vi.waitUntil(() => new Set(requested.map((path) => path.split("?")[0])).size === 4);
    expect([...new Set(requested.map((path) => path.split("?")[0]))].sort()).toEqual([
      "/pay/socket.io/",
      "/pay/v1/orders/ORD%201/events",
      "/pay/v1/orders/ORD%201/socket",
      "/pay/v1/orders/ORD%201/wait",
    ]);
  });
});

describe("busy server", () => {
  it.each([
    ["longpoll", longPoll],
    ["eventsource", eventSource],
  ])("is not contacted by %s before its Retry-After is over", async (_name, create) => {
    const requestedAt: number[] = [];
    const url = await startServer((_request, response) => {
      requestedAt.push(performance.now());
      response.writeHead(requestedAt.length === 1 ? 429 : 503, { "retry-after": "1" }).end();
    });
    start({ url, orderId: "ORD-1", token: "any", transports: [create()] });
    await vi.waitUntil(() => requestedAt.length === 3);
    for (const index of [1, 2]) expect((requestedAt[index] ?? 0) - (requestedAt[index - 1] ?? 0)).toBeGreaterThan(990);
  });

  it("is not contacted by the WebSocket after code 1013 until the wait is over", async () => {
    const { orderId, token } = await startPayment();
    const narrow = await startNode({ databaseUrl, env: { ...daraja.env, LIMIT_CONNECTIONS: "1" } });
    const first = start({ url: narrow.url, orderId, token, transports: [webSocket()] });
    await first.isOpen();
    const second = start({ url: narrow.url, orderId, token, transports: [webSocket()] });
    await vi.waitUntil(() => second.watch.snapshot().connection === "waiting");
    second.watch.check();
    expect(second.watch.snapshot().connection).toBe("waiting");
    first.watch.close();
    await second.isOpen();
  });
});

describe("long poll", () => {
  it("waits before the next request when a node in shutdown answers at once without a newer state", async () => {
    const requestedAt: number[] = [];
    const url = await startServer((_request, response) => {
      requestedAt.push(performance.now());
      response.end(JSON.stringify(eventOf({ id: "one", version: 1 })));
    });
    start({ url, orderId: "ORD-1", token: "any", transports: [longPoll()] });
    await vi.waitUntil(() => requestedAt.length === 3);
    expect((requestedAt[2] ?? 0) - (requestedAt[1] ?? 0)).toBeGreaterThan(1_990);
  });
});

describe("WebSocket transport without a global WebSocket, as in Node 20", () => {
  it("is followed by the next transport", async () => {
    vi.stubGlobal("WebSocket", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { orderId, token } = await startPayment();
    const { watch, isOpen } = start({ orderId, token, transports: [webSocket(), eventSource()] });
    await isOpen();
    expect(watch.snapshot().transport).toBe("eventsource");
  });
});
