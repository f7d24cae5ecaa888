/** An HTTP proxy between Tukio and an example, which stops a message where the test wants it. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface Passing {
  method: string;
  path: string;
  body: string;
  headers: Record<string, string>;
}

export interface Relay {
  url: string;
  /** Where the requests go. */
  target: string;
  /** Called before a request is passed on. If it rejects, the connection is reset. */
  onRequest: (passing: Passing) => Promise<void> | void;
  /** Called before the answer is passed on. If it rejects, the connection is reset. */
  onAnswer: (passing: Passing, status: number) => Promise<void> | void;
}

export async function startRelay(target: string): Promise<Relay> {
  const server = createServer((request, response) => {
    void pass(request, relay).then(
      (answer) => response.writeHead(answer.status, answer.headers).end(answer.body),
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const relay: Relay = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    target,
    onRequest: () => undefined,
    onAnswer: () => undefined,
  };
  return relay;
}

const hopByHop = /^(host|connection|content-length|transfer-encoding|keep-alive|accept-encoding)$/;

async function pass(
  request: IncomingMessage,
  relay: Relay,
): Promise<{ status: number; headers: Record<string, string>; body: Buffer }> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { method = "GET", url: path = "/" } = request;
  const headers = Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) => (hopByHop.test(name) ? [] : [[name, String(value)]])),
  );
  const body = Buffer.concat(chunks);
  const passing = { method, path, body: body.toString(), headers };
  await relay.onRequest(passing);
  const response = await fetch(relay.target + path, {
    method,
    headers,
    redirect: "manual",
    ...(body.length > 0 && { body }),
  });
  const answer = Buffer.from(await response.arrayBuffer());
  await relay.onAnswer(passing, response.status);
  const type = response.headers.get("content-type");
  return { status: response.status, headers: type === null ? {} : { "content-type": type }, body: answer };
}
