import { getEventListeners, once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { inspect } from "node:util";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { CallFailed, type Client, createClient, Unreachable } from "../../server/provider/http-client.ts";
import { startDrippingServer } from "../support/dripping-server.ts";

const never = new AbortController().signal;

function openClient(): Client {
  const client = createClient();
  onTestFinished(() => client.close());
  return client;
}

/** Starts a server on a free port. Resolves with host and port. */
async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://${await listen(server)}`;
}

/** A server that accepts TCP connections and does not speak HTTP. */
async function serveTcp(listener: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    listener(socket);
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return listen(server);
}

/** An address at which no server listens. */
async function closedUrl(): Promise<string> {
  const server = createServer();
  const address = await listen(server);
  server.close();
  await once(server, "close");
  return `http://${address}`;
}

const failureOf = (calling: Promise<unknown>): Promise<unknown> =>
  calling.then(
    (answer) => expect.unreachable(`answered ${inspect(answer)}`),
    (error: unknown) => error,
  );

test("an answer with a byte order mark is read as JSON", async () => {
  const url = await serve((_request, response) => void response.end('\ufeff{"a":1}'));
  const answer = await openClient().call({ method: "GET", url, headers: {}, signal: never });
  expect(answer.body).toEqual({ a: 1 });
});

describe("HTTP client", () => {
  test("sends JSON and reads JSON", async () => {
    const seen: unknown[] = [];
    const url = await serve(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      seen.push(request.method, request.headers["content-type"], Buffer.concat(chunks).toString());
      response.end('{"b":[1.50]}');
    });
    const answer = await openClient().call({ method: "POST", url, headers: {}, body: { a: 1 }, signal: never });
    expect(answer).toEqual({ status: 200, body: { b: [1.5] }, sent: ["1"] });
    expect(seen).toEqual(["POST", "application/json", '{"a":1}']);
  });

  test.each([
    ["7", 7],
    ["0", 0],
    [new Date(Date.now() - 60_000).toUTCString(), 0],
    ["-5", undefined],
    ["1.5", undefined],
    ["soon", undefined],
    [undefined, undefined],
  ])("reads Retry-After %j as %j seconds", async (header, seconds) => {
    const url = await serve((_request, response) => {
      response.writeHead(429, header === undefined ? {} : { "retry-after": header }).end();
    });
    const answer = await openClient().call({ method: "GET", url, headers: {}, signal: never });
    expect(answer.retryAfterS).toBe(seconds);
  });

  test("reads a date in Retry-After as the seconds until then", async () => {
    const url = await serve((_request, response) => {
      response.writeHead(503, { "retry-after": new Date(Date.now() + 120_000).toUTCString() }).end();
    });
    const { retryAfterS } = await openClient().call({ method: "GET", url, headers: {}, signal: never });
    expect(retryAfterS).toBeGreaterThan(60);
    expect(retryAfterS).toBeLessThanOrEqual(120);
  });

  test("leaves no timer and no listener after a call", async () => {
    const url = await serve((_request, response) => response.end("{}"));
    const client = openClient();
    const { signal } = new AbortController();
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const call = () => client.call({ method: "GET", url, headers: {}, signal });
    await call();
    const before = timers();
    await Promise.all(Array.from({ length: 20 }, call));
    // Other timers may end meanwhile.
    expect(timers()).toBeLessThanOrEqual(before);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test("sends the length but no content type for a POST without a body", async () => {
    const seen: unknown[] = [];
    const url = await serve(({ headers }, response) => {
      seen.push(headers["content-length"], headers["content-type"], headers["transfer-encoding"]);
      response.end();
    });
    await openClient().call({ method: "POST", url, headers: {}, signal: never });
    expect(seen).toEqual(["0", undefined, undefined]);
  });

  test.each([
    ["nothing", ""],
    ["HTML", "<html>502</html>"],
    ["half of a JSON text", '{"a":'],
  ])("returns only the status for a body that is %s", async (_what, body) => {
    const url = await serve((_request, response) => response.writeHead(502).end(body));
    const answer = await openClient().call({ method: "GET", url, headers: {}, signal: never });
    expect(answer).toEqual({ status: 502, body: undefined, sent: [] });
  });

  test("does not follow a redirect", async () => {
    const paths: (string | undefined)[] = [];
    const url = await serve((request, response) => {
      paths.push(request.url);
      response.writeHead(307, { location: "/elsewhere" }).end();
    });
    const answer = await openClient().call({ method: "POST", url, headers: {}, body: {}, signal: never });
    expect(answer.status).toBe(307);
    expect(paths).toEqual(["/"]);
  });

  test("throws Unreachable if no server listens", async () => {
    const url = await closedUrl();
    const error = await failureOf(openClient().call({ method: "POST", url, headers: {}, body: {}, signal: never }));
    expect(error).toBeInstanceOf(Unreachable);
    expect(error).toMatchObject({ code: "ECONNREFUSED" });
  });

  test("throws Unreachable if TLS fails", async () => {
    const url = (await serve((_request, response) => response.end())).replace("http:", "https:");
    const error = await failureOf(openClient().call({ method: "POST", url, headers: {}, body: {}, signal: never }));
    expect(error).toBeInstanceOf(Unreachable);
  });

  test("throws Unreachable at its deadline if there is no connection", async () => {
    const client = openClient();
    const url = `https://${await serveTcp(() => undefined)}`;
    const error = await failureOf(
      client.call({ method: "POST", url, headers: {}, body: {}, deadlineMs: 50, signal: never }),
    );
    expect(error).toBeInstanceOf(Unreachable);
    expect(error).toMatchObject({ code: "deadline" });
  });

  test("throws Unreachable if the caller aborts before the request is sent", async () => {
    const url = await serve((_request, response) => response.end());
    const signal = AbortSignal.abort();
    const error = await failureOf(openClient().call({ method: "POST", url, headers: {}, body: {}, signal }));
    expect(error).toBeInstanceOf(Unreachable);
  });

  test("retries a request once if it was not sent", async () => {
    let connections = 0;
    const address = await serveTcp((socket) => {
      connections += 1;
      socket.destroy();
    });
    const url = `https://${address}`;
    const error = await failureOf(openClient().call({ method: "POST", url, headers: {}, body: {}, signal: never }));
    expect(error).toBeInstanceOf(Unreachable);
    expect(connections).toBe(2);
  });

  test("throws CallFailed, and does not retry, if the request may have arrived (G10)", async () => {
    let requests = 0;
    const url = await serve((request) => {
      requests += 1;
      request.socket.destroy();
    });
    const error = await failureOf(openClient().call({ method: "POST", url, headers: {}, body: {}, signal: never }));
    expect(error).toBeInstanceOf(CallFailed);
    expect(error).not.toBeInstanceOf(Unreachable);
    expect(requests).toBe(1);
  });

  test.each([
    ["no answer comes", () => undefined],
    ["the answer stops half way", (response: { write(text: string): void }) => response.write('{"a":')],
  ])("ends at its deadline if %s", async (_what, answer) => {
    const url = await serve((_request, response) => answer(response));
    const error = await failureOf(
      openClient().call({ method: "POST", url, headers: {}, body: {}, deadlineMs: 50, signal: never }),
    );
    expect(error).toBeInstanceOf(CallFailed);
    expect(error).not.toBeInstanceOf(Unreachable);
    expect(error).toMatchObject({ code: "deadline" });
  });

  test.each([
    ["status line", "HTTP/1.1 200 "],
    ["body", "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n"],
  ])("ends when it is aborted while the %s drips, and closes the connection", async (_what, before) => {
    const server = await startDrippingServer((text) => (text === "" ? "" : { before }));
    const end = new AbortController();
    const url = `http://127.0.0.1:${server.port}`;
    const failed = failureOf(openClient().call({ method: "POST", url, headers: {}, body: {}, signal: end.signal }));
    await vi.waitUntil(() => server.dripping === 1);
    end.abort(new DOMException("late", "TimeoutError"));
    expect(await failed).toMatchObject({ code: "deadline" });
    await vi.waitUntil(() => server.closed === 1);
  });

  test("does not read an endless answer (G12)", async () => {
    const url = await serve((_request, response) => response.end("1".repeat(300_000)));
    const error = await failureOf(openClient().call({ method: "GET", url, headers: {}, signal: never }));
    expect(error).toMatchObject({ code: "UND_ERR_RES_EXCEEDED_MAX_SIZE" });
  });

  test("keeps headers, bodies and URLs out of its errors", async () => {
    const url = await serve((request) => request.socket.end("HTTP/1.1 nonsense secret-reply\r\n\r\n"));
    const headers = { authorization: "Bearer secret-header" };
    const body = { secret: "secret-body" };
    const error = await failureOf(
      openClient().call({ method: "POST", url: `${url}/secret-path?secret-query`, headers, body, signal: never }),
    );
    expect(error).toBeInstanceOf(CallFailed);
    expect(inspect(error, { depth: 20, showHidden: true })).not.toContain("secret-");
  });
});
