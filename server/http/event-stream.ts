/** Streams of server-sent events, as they are opened and written to: those of orders, and those of the sandbox's phone. */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";

/** A reader that leaves more than this unread is closed to come back. */
export const unreadBytesMax = 65_536;

export const streamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
};

/**
 * Takes the reply out of Fastify's hands, with the headers that its hooks have set so far (CORS among them). Given to Node
 * all at once, they are not kept beside their text for as long as the stream is open.
 */
export function openStream(reply: FastifyReply): void {
  reply.hijack();
  reply.raw.writeHead(200, { ...(reply.getHeaders() as OutgoingHttpHeaders), ...streamHeaders });
  reply.raw.flushHeaders();
}

/**
 * Calls back once the reader is gone. An answer that still waits behind another one on its connection never hears of that
 * itself.
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

/** Writes to a reader that is there, and cuts it off when too much is unread. */
export function writeStream(raw: ServerResponse, text: string): void {
  if (raw.writableEnded || raw.destroyed) return;
  raw.write(text);
  if (raw.writableLength > unreadBytesMax) raw.destroy();
}
