/**
 * Forwards requests for the sandboxes to the node that holds their state (host.ts).
 *
 * Guarantees: a forwarded request proves that its sender has the node's secret, and is for one host. Each answer of that host
 * proves the same; any other answer, as of another server at the address of a host that ended, counts as none. A request is not
 * forwarded twice: a node that is not the host, or no longer, refuses it, and the sender looks for the host again. Only a
 * request that no host has taken, or that only reads, is sent again.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Agent, type Dispatcher } from "undici";
import type { NodeProof } from "../auth/keys.ts";
import { HubError } from "../errors.ts";
import { sendBytes } from "../http/static-files.ts";
import { type Host, HostUnavailable, type SandboxHost, SandboxRefusal } from "./host.ts";
import { type Message, readMessage, withoutHopHeaders } from "./message.ts";

/** In a request: the proof of its sender. In an answer: the proof of the host. */
const proofHeader = "x-tukio-sandbox-proof";

/** The base URLs of the sending node, to which the host may then send webhooks. */
const originsHeader = "x-tukio-sandbox-origins";

/** The status of a request for another node (RFC 9110, section 15.5.20). */
const misdirected = 421;

/** The origins of other nodes that a host keeps (G12). Only nodes with the same secret can add one. */
const originsMax = 1_000;

/** 3 s, because the lock of a node that died is free at once, and PostgreSQL may be restarting. */
const searchMs = 3_000;
const retryMs = 100;

/** The host is on the same machine, so a slow connection is none. */
const connectMs = 1_000;

/** 12 s, because a sandbox may leave a request for money unanswered, and its sender waits 10 s. */
const answerMs = 12_000;

/** 2 s, because a host answers a ping from memory. */
const pingMs = 2_000;

export interface Forwarding {
  /** Add it to the scope of each sandbox, before the hooks that read the request. */
  addTo(scope: FastifyInstance, limits?: { bodyBytesMax: number }): void;
  /** Whether another node forwarded this request, and has counted it. */
  isForwarded(request: FastifyRequest): boolean;
  /** Whether an origin is that of a node that forwarded a request. */
  isNodeOrigin(origin: string | undefined): boolean;
  /** Resolves when the host answers; it may be this node. Throws an Error for the operator after `waitMs`. */
  join(waitMs: number): Promise<void>;
  close(): Promise<void>;
}

export interface ForwardingOptions {
  host: SandboxHost;
  proof: NodeProof;
  /** The base URLs of this node. */
  ownUrls: () => string[];
}

const advice =
  "Run all nodes with sandboxes of one database on one machine and with the same TUKIO_SECRET, or give only one of them a SANDBOX.";

/** Read in full, because a request whose answer breaks off may be sent again. */
type Answer = Pick<Dispatcher.ResponseData, "statusCode" | "headers"> & { body: Buffer };

export function createForwarding(options: ForwardingOptions): Forwarding {
  const { host, proof } = options;
  // `pipelining: 0` disables keep-alive, because a host that ends would reset a request on a connection that it is closing.
  const agent = new Agent({
    pipelining: 0,
    connect: { timeout: connectMs },
    headersTimeout: answerMs,
    bodyTimeout: answerMs,
  });
  const origins = new Set<string>();
  const proofOf = ({ headers }: FastifyRequest): string | undefined => headers[proofHeader]?.toString();
  const isForwarded = (request: FastifyRequest): boolean => proof.isOf(proofOf(request), `request ${host.key}`);
  const isHost = async (): Promise<boolean> =>
    host.find().then(
      ({ key }) => key === host.key,
      () => false,
    );
  const relay = (message: Message, signal: AbortSignal) => (target: Host) =>
    relayOnce({ ...options, agent }, { target, message, signal });

  const forward = async (
    request: FastifyRequest,
    reply: FastifyReply,
    bodyBytesMax?: number,
  ): Promise<FastifyReply> => {
    const leaving = new AbortController();
    reply.raw.once("close", () => leaving.abort());
    try {
      const message = await readMessage(request, bodyBytesMax);
      const answer = await reach(host, searchMs, relay(message, leaving.signal));
      const headers = withoutHopHeaders(answer.headers, (name) => name === proofHeader);
      return sendBytes(reply.code(answer.statusCode).headers(headers), answer.body);
    } catch (error) {
      // The client has left. A request whose body was not read to its end has no socket.
      if (leaving.signal.aborted || request.raw.socket?.destroyed) return reply.hijack();
      throw error;
    }
  };

  return {
    addTo(scope, limits) {
      scope.addHook("onRequest", async (request, reply) => {
        if (proofOf(request) === undefined) {
          const { key } = await reach(host, searchMs, async (target) => target);
          return key === host.key ? undefined : forward(request, reply, limits?.bodyBytesMax);
        }
        if (!isForwarded(request) || !(await isHost())) return reply.code(misdirected).send();
        reply.header(proofHeader, proof.of(`answer ${host.key}`));
        for (const url of request.headers[originsHeader]?.toString().split(" ") ?? []) addOrigin(origins, url);
      });
    },
    isForwarded,
    isNodeOrigin: (origin) => origin !== undefined && origins.has(origin),
    async join(waitMs) {
      const ping: Message = { method: "GET", path: "/sandbox/phone", headers: {}, body: Buffer.alloc(0) };
      try {
        await reach(host, waitMs, async (target) => {
          if (target.key !== host.key) await relay(ping, AbortSignal.timeout(pingMs))(target);
        });
      } catch (error) {
        const { cause } = error as HostUnavailable;
        if (cause instanceof SandboxRefusal) throw cause;
        const why = cause instanceof Error ? cause.message : "";
        throw new Error(`The host of the sandboxes cannot be reached (${why}). ${advice}`, { cause: error });
      }
    },
    close: () => agent.destroy(),
  };
}

/** Repeats `attempt` with the host of the moment while no host takes it. Throws the last error after `forMs`. */
async function reach<T>(host: SandboxHost, forMs: number, attempt: (target: Host) => Promise<T>): Promise<T> {
  const untilMs = performance.now() + forMs;
  for (;;) {
    try {
      return await attempt(await host.find());
    } catch (error) {
      const isFinal = !(error instanceof HostUnavailable) || error.cause instanceof SandboxRefusal;
      if (isFinal || performance.now() > untilMs) throw error;
      await wait(retryMs);
    }
  }
}

interface Relaying {
  target: Host;
  message: Message;
  /** Aborted when the client has left, or when a ping took too long. */
  signal: AbortSignal;
}

/** Sends the request once. Throws `HostUnavailable` if it may be sent again, and `provider_unavailable` if a host may have taken it. */
async function relayOnce(
  { host, proof, ownUrls, agent }: ForwardingOptions & { agent: Agent },
  { target, message, signal }: Relaying,
): Promise<Answer> {
  const { method, path, body } = message;
  const headers = {
    ...message.headers,
    [proofHeader]: proof.of(`request ${target.key}`),
    [originsHeader]: ownUrls().join(" "),
  };
  const cause = (why?: unknown): Error => new Error(`no host answers at ${target.url}`, { cause: why });
  try {
    const sent = { origin: target.url, path, method, headers, body: body.length > 0 ? body : null, signal };
    const { statusCode, headers: answered, body: content } = await agent.request(sent);
    if (proof.isOf(answered[proofHeader]?.toString(), `answer ${target.key}`)) {
      return { statusCode, headers: answered, body: Buffer.from(await content.arrayBuffer()) };
    }
    content.on("error", () => undefined).destroy();
  } catch (error) {
    if (signal.aborted && signal.reason.name !== "TimeoutError") throw error;
    host.forget(target);
    if (isUnsent(error) || method === "GET" || method === "HEAD") throw new HostUnavailable(cause(error));
    throw new HubError("provider_unavailable", "The sandboxes' node did not answer", { cause: cause(error) });
  }
  host.forget(target);
  throw new HostUnavailable(cause());
}

const unsentCodes = [
  ...["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL", "ENOTFOUND", "EAI_AGAIN"],
  "UND_ERR_CONNECT_TIMEOUT",
];

const isUnsent = (error: unknown): boolean =>
  error instanceof Error && "code" in error && unsentCodes.includes(String(error.code));

function addOrigin(origins: Set<string>, url: string): void {
  if (origins.size < originsMax && URL.canParse(url)) origins.add(new URL(url).origin);
}
