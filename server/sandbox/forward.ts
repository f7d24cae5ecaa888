/**
 * Forwards requests for the sandboxes to the node that holds their state (host.ts). A forwarded request has the host's key and
 * is not forwarded again. A node that is not the host, or no longer, refuses it, and the sender looks for the host again.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Agent, type Dispatcher, request as send } from "undici";
import { isSame } from "../auth/keys.ts";
import { HubError } from "../errors.ts";
import type { Host, SandboxHost } from "./host.ts";

const keyHeader = "x-tukio-sandbox-key";

/** The base URLs of the sending node, to which the host may then send webhooks. */
const originsHeader = "x-tukio-sandbox-origins";

/** The status of a request for another node (RFC 9110, section 15.5.20). */
const misdirected = 421;

/** The origins of other nodes that a host keeps (G12). Only nodes on the same database can add one. */
const originsMax = 1_000;

/** 3 s, because the lock of a node that died is free at once, and PostgreSQL may be restarting. */
const searchMs = 3_000;
const retryMs = 100;

/** Headers of one connection (RFC 9110, section 7.6.1), and those that undici sets. */
const hopHeaders = new Set(["connection", "keep-alive", "transfer-encoding", "upgrade", "expect", "content-length"]);

const bodyBytesMax = 65_536;

export interface Forwarding {
  /** Add it to the scope of each sandbox, before the hooks that read the request. */
  addTo(scope: FastifyInstance): void;
  /** Whether another node forwarded this request, and has counted it. */
  isForwarded(request: FastifyRequest): boolean;
  /** Whether an origin is that of a node that forwarded a request. */
  isNodeOrigin(origin: string | undefined): boolean;
  /** Resolves when this node is the host or can reach it. Throws an Error for the operator after `waitMs`. */
  join(waitMs: number): Promise<void>;
  close(): Promise<void>;
}

export interface ForwardingOptions {
  host: SandboxHost;
  /** The base URLs of this node. */
  ownUrls: () => string[];
}

export function createForwarding({ host, ownUrls }: ForwardingOptions): Forwarding {
  const agent = new Agent({ bodyTimeout: 0 });
  const origins = new Set<string>();
  const keyOf = ({ headers }: FastifyRequest): string | undefined => headers[keyHeader]?.toString();

  const isForwarded = (request: FastifyRequest): boolean => {
    const key = keyOf(request);
    return key !== undefined && isSame(key, host.key);
  };

  const relay = (target: Host, message: Message, signal?: AbortSignal): Promise<Dispatcher.ResponseData> =>
    send(`${target.url}${message.path}`, {
      method: message.method,
      headers: { ...message.headers, [keyHeader]: target.key, [originsHeader]: ownUrls().join(" ") },
      body: message.body.length > 0 ? message.body : null,
      dispatcher: agent,
      ...(signal && { signal }),
    });

  const forward = async (request: FastifyRequest, reply: FastifyReply, first: Host): Promise<FastifyReply> => {
    const message = await readMessage(request);
    const leaving = new AbortController();
    reply.raw.once("close", () => leaving.abort());
    const { signal } = leaving;
    const relayed = relayUntilTaken({ host, first, relay: (target) => relay(target, message, signal) });
    const answer = await relayed.catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    // The client has left.
    if (!answer) return reply.hijack();
    return reply.code(answer.statusCode).headers(withoutHopHeaders(answer.headers)).send(answer.body);
  };

  return {
    addTo(scope) {
      scope.addHook("onRequest", async (request, reply) => {
        if (isForwarded(request)) {
          for (const url of request.headers[originsHeader]?.toString().split(" ") ?? []) addOrigin(origins, url);
          return;
        }
        if (keyOf(request) !== undefined) return reply.code(misdirected).send();
        const target = await host.find();
        if (target) return forward(request, reply, target);
      });
    },
    isForwarded,
    isNodeOrigin: (origin) => origin !== undefined && origins.has(origin),
    join: (waitMs) => joinHost(host, { relay, waitMs }),
    close: () => agent.destroy(),
  };
}

/** One request as it is forwarded. */
interface Message {
  method: Dispatcher.HttpMethod;
  path: string;
  headers: Record<string, string | string[]>;
  body: Buffer;
}

/** The body is read in full, because it may be sent again to another node. */
async function readMessage({ raw, method, headers, originalUrl }: FastifyRequest): Promise<Message> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of raw) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new HubError("body_too_large");
  }
  return {
    method: method as Dispatcher.HttpMethod,
    path: originalUrl,
    headers: withoutHopHeaders(headers),
    body: Buffer.concat(chunks),
  };
}

function withoutHopHeaders(headers: NodeJS.Dict<string | string[]>): Record<string, string | string[]> {
  const kept = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined || hopHeaders.has(name) ? [] : [[name, value] as const],
  );
  return Object.fromEntries(kept);
}

interface Relaying {
  host: SandboxHost;
  first: Host;
  relay: (target: Host) => Promise<Dispatcher.ResponseData>;
}

/** Sends the request to the host. Looks for another one while the request was certainly not taken. */
async function relayUntilTaken({ host, first, relay }: Relaying): Promise<Dispatcher.ResponseData> {
  const untilMs = performance.now() + searchMs;
  let target = first;
  for (;;) {
    const answer = await relay(target).catch((error: unknown) => {
      if (isRefused(error)) return undefined;
      throw error;
    });
    if (answer && answer.statusCode !== misdirected) return answer;
    await answer?.body.dump();
    if (performance.now() > untilMs)
      throw new HubError("provider_unavailable", "The sandboxes' node cannot be reached");
    host.forget(target);
    await wait(retryMs);
    target = (await host.find()) ?? { key: host.key, url: host.url() };
  }
}

/** The request was not sent. */
const isRefused = (error: unknown): boolean =>
  error instanceof Error &&
  "code" in error &&
  (error.code === "ECONNREFUSED" || error.code === "UND_ERR_CONNECT_TIMEOUT");

function addOrigin(origins: Set<string>, url: string): void {
  if (origins.size < originsMax && URL.canParse(url)) origins.add(new URL(url).origin);
}

async function joinHost(
  host: SandboxHost,
  { relay, waitMs }: { relay: (target: Host, message: Message) => Promise<Dispatcher.ResponseData>; waitMs: number },
): Promise<void> {
  const untilMs = performance.now() + waitMs;
  const ping: Message = { method: "GET", path: "/sandbox/phone", headers: {}, body: Buffer.alloc(0) };
  for (;;) {
    const target = await host.find();
    if (!target) return;
    const answer = await relay(target, ping).catch(() => undefined);
    await answer?.body.dump();
    if (answer && answer.statusCode !== misdirected) return;
    if (performance.now() > untilMs) {
      throw new Error(
        `Another node runs the sandboxes of this database, and cannot be reached at ${target.url}. Run all nodes with sandboxes on one machine, or give only one of them a SANDBOX.`,
      );
    }
    host.forget(target);
    await wait(retryMs);
  }
}
