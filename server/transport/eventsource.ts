/** Server-sent events: the current state, then every newer one, until the reader leaves or its token runs out. */
import type { ServerResponse } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { WatchGrant } from "../auth/access.ts";
import { onGone, openStream, streamHeaders, writeStream } from "../http/event-stream.ts";
import { recognize, sendProblem } from "../http/problem.ts";
import { succeeded } from "../schema/example.ts";
import { described, openedBy, watchProblems } from "../schema/route.ts";
import { subscribe, type Watcher } from "../status/hub.ts";
import {
  afterOf,
  authorizeWatcher,
  type Beating,
  cancelExpiry,
  type Drainable,
  type Expiring,
  type OrderRequest,
  positionQuery,
  startExpiry,
  startHeartbeat,
  type TransportOptions,
} from "./transport.ts";

/** Keeps proxies from closing a quiet stream, and finds readers that are gone. */
const heartbeatMs = 15_000;

const streamOrder = described({
  operationId: "streamOrder",
  tag: "Watching",
  summary: "Follow with server-sent events",
  description:
    "The current state first, then every newer one, until you leave or the token runs out. A comment every 15 s. Whoever says `Accept: text/event-stream`, as every `EventSource` does, is never told 429, 500 or 503: the stream ends at once with the time to come back in `retry`, because an `EventSource` gives up for good on any other answer.",
  security: openedBy.watcher,
  headers: {
    "Last-Event-ID": {
      type: "string",
      pattern: "^\\d{1,9}$",
      description: "The last version seen, as a browser that comes back says it; wins over `after`.",
      examples: ["1"],
    },
  },
  querystring: positionQuery,
  answers: {
    200: {
      description: "`data` is a `StatusEvent`, `id` its version.",
      type: "text/event-stream",
      example: `id: 3\nevent: status\ndata: ${JSON.stringify(succeeded)}\n\n`,
    },
  },
  problems: watchProblems,
});

/** An open stream. */
interface Stream extends Watcher, Expiring, Beating {
  raw: ServerResponse;
}

/** Returns how to drain it. */
export function eventSourceRoute(app: FastifyInstance, { hub, access, connectionLimit }: TransportOptions): Drainable {
  let isClosing = false;

  const heartbeat = startHeartbeat<Stream>(heartbeatMs, {
    beat: ({ raw }) => writeStream(raw, ": still here\n\n"),
    onError: (error) => app.log.error({ err: error }, "heartbeat failed"),
  });

  /**
   * An `EventSource` never comes back after any answer but a stream: where it may, a stream tells it when, within the 3 s
   * of browsers, since it keeps to that ever after. Not all at once.
   */
  const errorHandler = (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const known = recognize(error, request);
    const isEventSource = request.headers.accept?.includes("text/event-stream") ?? false;
    if (!isEventSource || !known.retryable) return sendProblem(reply, known);
    const comeBackMs = 1_000 + Math.floor(Math.random() * 1_000);
    return reply.headers(streamHeaders).send(`retry: ${comeBackMs}\n\n`);
  };

  app.get<OrderRequest>(
    "/v1/orders/:orderId/events",
    { errorHandler, exposeHeadRoute: false, ...streamOrder },
    async (request, reply) => {
      const { id, expiresAtS } = await authorizeWatcher(access, request);
      const after = lastEventId(request) ?? afterOf(request) ?? 0;
      const { ip } = request;
      const { raw } = reply;
      const stream = createStream(raw, { id, expiresAtS });
      connectionLimit.acquire(ip);
      try {
        await subscribe(hub, stream, { after, onFound: () => openStream(reply) });
      } catch (error) {
        connectionLimit.release(ip);
        throw error;
      }
      startExpiry(stream);
      heartbeat.add(stream);
      const release = (): void => {
        hub.unwatch(stream);
        connectionLimit.release(ip);
        cancelExpiry(stream);
        heartbeat.delete(stream);
      };
      onGone(reply, release);
      if (isClosing) raw.end();
      return reply;
    },
  );

  return {
    begin() {
      isClosing = true;
      return heartbeat.connections().map(
        ({ raw }) =>
          () =>
            raw.end(),
      );
    },
    end: heartbeat.close,
  };
}

const createStream = (raw: ServerResponse, { id, expiresAtS }: Pick<WatchGrant, "id" | "expiresAtS">): Stream => ({
  raw,
  id,
  transport: "eventsource",
  version: 0,
  isPaid: false,
  expiresAtS,
  slot: undefined,
  receive,
  expire,
});

function receive(this: Stream, { version }: StatusEvent, json: string): void {
  writeStream(this.raw, `id: ${version}\nevent: status\ndata: ${json}\n\n`);
}

function expire(this: Stream): void {
  this.raw.end();
}

/** A browser that comes back says what it has seen; that wins over the URL it was first given. */
function lastEventId(request: FastifyRequest): number | undefined {
  const header = request.headers["last-event-id"];
  return typeof header === "string" && /^\d{1,9}$/.test(header) ? Number(header) : undefined;
}
