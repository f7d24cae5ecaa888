/** A merchant's backend: an HTTP server that records what it receives, verifies it and answers as the test wants. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { onTestFinished } from "vitest";
import { asMerchant, type TestNode } from "./node.ts";

export interface Received {
  id: string;
  type: string;
  body: {
    type: string;
    timestamp: string;
    data: Record<"order" | "endpoint" | "paymentLink" | "plan", Record<string, unknown>>;
  };
  /** The bytes of the body, as text. */
  text: string;
  /** The headers of Standard Webhooks. */
  headers: Record<string, string>;
  /** Whether the library of Standard Webhooks accepts the signature. */
  isVerified: boolean;
  path: string;
  atMs: number;
}

export interface Backend {
  url: string;
  received: Received[];
  /** The secrets that may sign. */
  secrets: string[];
  /** Answers a request; by default with 200. */
  answer: (response: ServerResponse, received: Received) => void;
  close(): Promise<void>;
}

export interface BackendOptions {
  port?: number;
  /** Key and certificate in PEM. Default: no TLS. */
  tls?: { key: string; cert: string };
}

export async function startBackend({ port = 0, tls }: BackendOptions = {}): Promise<Backend> {
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    void readBody(request).then((text) => {
      const received = toReceived(request, text, backend.secrets);
      backend.received.push(received);
      backend.answer(response, received);
    });
  };
  const server = tls ? createTlsServer(tls, handle) : createServer(handle);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  const backend: Backend = {
    url: `${tls ? "https" : "http"}://127.0.0.1:${(server.address() as AddressInfo).port}/hooks`,
    received: [],
    secrets: [],
    answer: (response) => response.end("ok"),
    close,
  };
  onTestFinished(close);
  return backend;
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

const signatureHeaders = ["webhook-id", "webhook-timestamp", "webhook-signature"];

function toReceived({ headers, url = "" }: IncomingMessage, text: string, secrets: readonly string[]): Received {
  const body = JSON.parse(text) as Received["body"];
  const isSignedBy = (secret: string): boolean => {
    try {
      new Webhook(secret).verify(text, headers as Record<string, string>);
      return true;
    } catch {
      return false;
    }
  };
  return {
    id: String(headers["webhook-id"]),
    type: body.type,
    body,
    text,
    headers: Object.fromEntries(signatureHeaders.map((name) => [name, String(headers[name])])),
    isVerified: secrets.some(isSignedBy),
    path: url,
    atMs: performance.now(),
  };
}

/** Creates an endpoint at the backend, and gives the backend its secret. Returns the endpoint's id. */
export async function addEndpoint(
  node: TestNode,
  backend: Backend,
  fields: Record<string, unknown> = {},
): Promise<string> {
  const answer = await asMerchant(node, "/v1/endpoints", { url: backend.url, ...fields });
  const { endpoint, secret } = answer.body as unknown as { endpoint: { id: string }; secret: string };
  backend.secrets.push(secret);
  return endpoint.id;
}
