/** Streams of server-sent events, for orders and for the sandbox's phone. */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";

/** A connection with more unread bytes is closed, and its client reconnects. */
export const unreadBytesMax = 65_536;

export const streamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
};

/**
 * Starts a stream with the headers that hooks have set, CORS among them. Fastify does not handle the reply any further.
 *
 * Node gets all headers in one call, because it would otherwise keep them in memory while the stream is open.
 */
export function openStream(reply: FastifyReply): void {
  reply.hijack();
  reply.raw.writeHead(200, { ...(reply.getHeaders() as OutgoingHttpHeaders), ...streamHeaders });
  reply.raw.flushHeaders();
}

/**
 * Calls `release` once, when the reader is gone. It listens to the socket too, because an answer that is queued behind
 * another one on its connection emits no "close".
 */
export function onGone({ raw, request }: FastifyReply, release: () => void): void {
  const { socket } = request.raw;
  const gone = (): void => {
    raw.off("close", gone);
    socket.off("close", gone);
    release();
  };
  if (raw.destroyed || socket.destroyed) {
    release();
    return;
  }
  raw.once("close", gone);
  socket.once("close", gone);
}

/** Writes to the stream, and destroys it when too much is unread. */
export function writeStream(raw: ServerResponse, text: string): void {
  if (raw.writableEnded || raw.destroyed) return;
  raw.write(text);
  if (raw.writableLength > unreadBytesMax) raw.destroy();
}
