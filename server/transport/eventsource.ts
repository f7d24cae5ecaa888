/** Server-sent events: the current state, then every newer one, until the reader leaves or its token runs out. */
import type { ServerResponse } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { Watched } from "../auth/access.ts";
import { onGone, openStream, streamHeaders, writeStream } from "../http/event-stream.ts";
import { recognize, sendProblem } from "../http/problem.ts";
import { follow, type Watcher } from "../status/hub.ts";
import {
  afterOf,
  type Beating,
  cancelExpiry,
  type Expiring,
  type Leave,
  type OrderRequest,
  startExpiry,
  startHeartbeat,
  type TransportOptions,
  watched,
} from "./transport.ts";

/** Keeps proxies from closing a quiet stream, and finds readers that are gone. */
const heartbeatMs = 15_000;

/** An open stream. */
interface Stream extends Watcher, Expiring, Beating {
  raw: ServerResponse;
}

/** Returns how to take leave of all watchers. */
export function eventSourceRoute(app: FastifyInstance, { hub, access, connectionLimit }: TransportOptions): Leave {
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
    { errorHandler, exposeHeadRoute: false },
    async (request, reply) => {
      const { id, expiresAtS } = await watched(access, request);
      const after = lastEventId(request) ?? afterOf(request) ?? 0;
      const { ip } = request;
      const { raw } = reply;
      const stream = createStream(raw, { id, expiresAtS });
      connectionLimit.enter(ip);
      try {
        await follow(hub, stream, { after, onFound: () => openStream(reply) });
      } catch (error) {
        connectionLimit.leave(ip);
        throw error;
      }
      startExpiry(stream);
      heartbeat.add(stream);
      const leave = (): void => {
        hub.unwatch(stream);
        connectionLimit.leave(ip);
        cancelExpiry(stream);
        heartbeat.delete(stream);
      };
      onGone(reply, leave);
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

const createStream = (raw: ServerResponse, { id, expiresAtS }: Pick<Watched, "id" | "expiresAtS">): Stream => ({
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
