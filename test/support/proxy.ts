/** A reverse HTTP proxy that appends the client's address to `X-Forwarded-For`. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, request as send } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { TestNode } from "./node.ts";

export interface ProxyOptions {
  /** Whether the proxy forwards WebSocket upgrades; many proxies do not. Default: true. */
  hasSockets?: boolean;
}

/** Starts a proxy that reports every client's address as `client`. Stops it with the test. */
export async function startProxy(
  node: Pick<TestNode, "url">,
  client: string,
  { hasSockets = true }: ProxyOptions = {},
): Promise<{ url: string }> {
  const { hostname, port } = new URL(node.url);
  const forwarded = (headers: IncomingHttpHeaders): IncomingHttpHeaders => ({
    ...headers,
    "x-forwarded-for": [headers["x-forwarded-for"], client].filter(Boolean).join(", "),
  });
  const server = createServer(({ method, url, headers }, response) => {
    const onward = send({ hostname, port, method, path: url, headers: forwarded(headers), agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.once("close", () => onward.destroy());
    response.req.pipe(onward);
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket));
  server.on("upgrade", ({ method, url, headers }, socket: Socket) => {
    if (!hasSockets) return void socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    const onward = connect(Number(port), hostname);
    const lines = Object.entries(forwarded(headers)).map(([name, value]) => `${name}: ${value}`);
    onward.write([`${method} ${url} HTTP/1.1`, ...lines, "", ""].join("\r\n"));
    onward.pipe(socket).pipe(onward);
    onward.on("error", () => socket.destroy()).once("close", () => socket.destroy());
    socket.on("error", () => onward.destroy()).once("close", () => onward.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}
