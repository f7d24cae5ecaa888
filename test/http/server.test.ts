/** The HTTP server of a node, without routes. */
import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import { readConfig } from "../../server/config/config.ts";
import { HubError } from "../../server/errors.ts";
import { connectionsMax, openHttp } from "../../server/http/server.ts";
import { createLogger } from "../../server/log.ts";

const open = (env: Record<string, string> = {}) =>
  openHttp({
    config: readConfig(env),
    log: createLogger("silent"),
    isAllowedOrigin: () => true,
    onError: (error) => {
      throw error;
    },
  });

afterEach(() => void vi.useRealTimers());

describe("HTTP server", () => {
  /** Opens a connection and writes to it. Resolves with the whole answer when the connection ends. */
  const send = (port: number, text: string): Promise<string> => {
    const socket = connect(port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    socket.write(text);
    let answer = "";
    socket.on("data", (chunk) => (answer += chunk)).on("error", () => undefined);
    return once(socket, "close").then(() => answer);
  };

  it("cuts off a silent connection and an incomplete request after 15 s, and no complete one (G12)", async () => {
    const { app, close } = await open();
    onTestFinished(close);
    const released = Promise.withResolvers<void>();
    app.post("/late", async () => {
      await released.promise;
      return "late";
    });
    app.get("/socket", { websocket: true, config: { isSocket: true } }, () => undefined);
    await app.listen({ port: 0, host: "127.0.0.1" });
    const { port } = app.server.address() as AddressInfo;
    expect([app.server.requestTimeout, app.server.headersTimeout]).toEqual([15_000, 15_000]);
    app.server.headersTimeout = app.server.requestTimeout = 500;
    const head = "POST /late HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    const whole = send(port, `${head}Content-Length: 1\r\n\r\n1`);
    const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`);
    onTestFinished(() => socket.terminate());
    const silent = send(port, "");
    const dripping = send(port, `${head}Content-Length: 9\r\n\r\nx`);
    expect(await dripping).toMatch(/^HTTP\/1.1 408 /);
    await silent;
    expect(socket.readyState).toBe(WebSocket.OPEN);
    released.resolve();
    expect(await whole).toMatch(/late$/);
  });

  const upgrade = (path: string): string =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

  it.each([
    ["/%zz", 400],
    ["/nowhere", 404],
    ["/page", 404],
  ])("answers an upgrade of %s with %d and ends the connection", async (path, status) => {
    const { app, close } = await open();
    onTestFinished(close);
    app.get("/page", async () => "a page");
    await app.listen({ port: 0, host: "127.0.0.1" });
    const { port } = app.server.address() as AddressInfo;
    const answer = await send(port, upgrade(path));
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer.toLowerCase()).toContain("connection: close");
  });

  it("ends the connection of a failed upgrade after its client is gone", async () => {
    const { app, close } = await open();
    onTestFinished(close);
    app.get("/first", async () => "first");
    app.get("/socket", { websocket: true, config: { isSocket: true } }, () => undefined);
    const closed = vi.fn();
    app.server.on("connection", (socket) => socket.on("close", closed));
    await app.listen({ port: 0, host: "127.0.0.1" });
    const { port } = app.server.address() as AddressInfo;
    app.server.requestTimeout = app.server.keepAliveTimeout = 500;
    const taken = new WebSocket(`ws://127.0.0.1:${port}/socket`);
    onTestFinished(() => taken.terminate());
    await once(taken, "open");
    const refused = connect(port, "127.0.0.1");
    refused.write(upgrade("/%zz"));
    await once(refused, "data");
    refused.destroy();
    const behind = connect(port, "127.0.0.1").on("error", () => undefined);
    behind.write(`GET /first HTTP/1.1\r\nHost: x\r\n\r\n${upgrade("/socket")}`);
    await vi.waitUntil(() => closed.mock.calls.length === 2, 5_000);
    expect(taken.readyState).toBe(WebSocket.OPEN);
  });

  it("announces the end of the connection when it answers before the body is in", async () => {
    const { app, close } = await open();
    onTestFinished(close);
    app.post("/", async () => "taken");
    const onRequest = async (): Promise<void> => {
      throw new HubError("rate_limited");
    };
    app.post("/refused", { onRequest }, async () => "taken");
    await app.listen({ port: 0, host: "127.0.0.1" });
    const { port } = app.server.address() as AddressInfo;
    const answer = async (text: string): Promise<string> => {
      const socket = connect(port, "127.0.0.1");
      onTestFinished(() => void socket.destroy());
      socket.write(text);
      return String((await once(socket, "data"))[0]).toLowerCase();
    };
    for (const body of ["Content-Length: 100", "Transfer-Encoding: chunked"]) {
      const unread = await answer(
        `POST /refused HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${body}\r\n\r\n`,
      );
      expect(unread).toMatch(/^http\/1.1 429 /);
      expect(unread).toContain("connection: close");
    }
    const whole = `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`;
    expect(await answer(whole)).not.toContain("connection: close");
  });

  it("limits its connections (G12)", async () => {
    const { app, close } = await open();
    onTestFinished(close);
    expect(app.server.maxConnections).toBe(connectionsMax);
  });

  it("runs its close hooks in order, however long they take", async () => {
    const { app, isDraining, close } = await open();
    const held = Promise.withResolvers<void>();
    const last = vi.fn(async () => undefined);
    app.addHook("preClose", () => held.promise);
    app.addHook("preClose", last);
    await app.ready();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const closed = close();
    expect(isDraining()).toBe(true);
    await vi.advanceTimersByTimeAsync(60_000);
    held.resolve();
    await closed;
    expect(last).toHaveBeenCalledOnce();
  });

  it("sends Strict-Transport-Security in production only", async () => {
    const production = {
      NODE_ENV: "production",
      DATABASE_URL: "postgres://127.0.0.1/x",
      TUKIO_API_KEY: "an-api-key-of-some-length",
      TUKIO_SECRET: "a secret of more than thirty-two characters",
      PUBLIC_URL: "https://pay.example.com",
    };
    for (const [env, header] of [
      [production, expect.stringMatching(/^max-age=\d{8}/)],
      [{}, undefined],
    ] as const) {
      const { app, close } = await open(env);
      onTestFinished(close);
      const { headers } = await app.inject("/");
      expect(headers["strict-transport-security"]).toEqual(header);
      expect(headers["x-content-type-options"]).toBe("nosniff");
    }
  });
});
