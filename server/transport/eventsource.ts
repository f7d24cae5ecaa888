/** Server-sent events: the current state, then every newer one, until the client leaves or its token expires. */
import type { ServerResponse } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { WatchGrant } from "../auth/access.ts";
import { onGone, openStream, streamHeaders, writeStream } from "../http/event-stream.ts";
import { recognize, sendProblem } from "../http/problem.ts";
import { nowhere, type Position } from "../order/order.ts";
import { succeeded } from "../schema/example.ts";
import { described, openedBy, watchProblems } from "../schema/route.ts";
import { subscribe, type Watcher } from "../status/hub.ts";
import { afterText } from "../validation.ts";
import {
  authorizeWatcher,
  type Beating,
  cancelExpiry,
  type Drainable,
  type Expiring,
  type OrderRequest,
  readWatchQuery,
  startExpiry,
  startHeartbeat,
  type TransportOptions,
  watchQuery,
} from "./transport.ts";

/** 15 s because proxies close idle streams. A write also detects a client that is gone. */
const heartbeatMs = 15_000;

const streamOrder = described({
  operationId: "streamOrder",
  tag: "Watching",
  summary: "Follow with server-sent events",
  description:
    "The current state first, then every newer one, until you disconnect or the token expires. A comment every 15 s. A client that sends `Accept: text/event-stream`, as every `EventSource` does, does not get 429, 500 or 503: the stream ends at once and `retry` has the time after which to reconnect, because an `EventSource` does not reconnect after any other answer.",
  security: openedBy.watcher,
  headers: {
    "Last-Event-ID": {
      type: "string",
      pattern: "^(?:(\\d{1,12})\\.)?(\\d{1,10})$",
      description:
        "The `id` of the last state that the client has. A browser sends it when it reconnects. It takes precedence over `after`.",
      examples: ["1"],
    },
  },
  querystring: watchQuery,
  answers: {
    200: {
      description: "`data` is a `StatusEvent`. `id` is its version, or `epoch.version` after the first epoch.",
      type: "text/event-stream",
      example: `id: 3\nevent: status\ndata: ${JSON.stringify(succeeded)}\n\n`,
    },
  },
  problems: watchProblems,
});

interface Stream extends Watcher, Expiring, Beating {
  raw: ServerResponse;
}

export function eventSourceRoute(app: FastifyInstance, { hub, access, connectionLimit }: TransportOptions): Drainable {
  let isClosing = false;

  const heartbeat = startHeartbeat<Stream>(heartbeatMs, {
    beat: ({ raw }) => writeStream(raw, ": still here\n\n"),
    onError: (error) => app.log.error({ event: "eventsource.heartbeat.failed", err: error }, "heartbeat failed"),
  });

  app.get<OrderRequest>(
    "/v1/orders/:orderId/events",
    { errorHandler, exposeHeadRoute: false, ...streamOrder },
    async (request, reply) => {
      const { id, expiresAtS, key } = await authorizeWatcher(access, request);
      const query = readWatchQuery(request);
      const after = lastEventId(request) ?? query.after ?? nowhere;
      const { ip } = request;
      const { raw } = reply;
      const stream = createStream(raw, { id, expiresAtS, key });
      connectionLimit.acquire(ip);
      try {
        await subscribe(hub, stream, { after, clock: query.clock ?? false, onFound: () => openStream(reply) });
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
    startDrain() {
      isClosing = true;
      return heartbeat.connections().map(
        ({ raw }) =>
          () =>
            raw.end(),
      );
    },
    close: heartbeat.close,
  };
}

/**
 * Answers an error that a retry may fix with a stream that ends at once, because an `EventSource` reconnects only after a
 * stream. `retry` is 1 to 2 s, less than the 3 s of browsers, because an `EventSource` keeps to it from then on. It is
 * random because clients must not reconnect all at once.
 */
function errorHandler(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const known = recognize(error, request);
  const isEventSource = request.headers.accept?.includes("text/event-stream") ?? false;
  if (!isEventSource || !known.retryable) return sendProblem(reply, known);
  const retryMs = 1_000 + Math.floor(Math.random() * 1_000);
  return reply.headers(streamHeaders).send(`retry: ${retryMs}\n\n`);
}

const createStream = (raw: ServerResponse, grant: Pick<WatchGrant, "id" | "expiresAtS" | "key">): Stream => ({
  raw,
  id: grant.id,
  transport: "eventsource",
  version: 0,
  epoch: 0,
  isPaid: false,
  expiresAtS: grant.expiresAtS,
  key: grant.key,
  slot: undefined,
  receive,
  expire,
});

/** The id is the version, or `epoch.version` after the first epoch. */
function receive(this: Stream, { epoch, version }: StatusEvent, json: string): void {
  const id = epoch ? `${epoch}.${version}` : version;
  writeStream(this.raw, `id: ${id}\nevent: status\ndata: ${json}\n\n`);
}

function expire(this: Stream): void {
  this.raw.end();
}

/** The state that a reconnecting browser has. It takes precedence over the URL, which a browser does not change. */
function lastEventId(request: FastifyRequest): Position | undefined {
  const { success, data } = afterText.safeParse(request.headers["last-event-id"]);
  return success ? data : undefined;
}
