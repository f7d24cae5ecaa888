/** What bounds those who connect over Socket.IO: strangers, by where they come from; and readers who do not read. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server, Socket } from "socket.io";
import { HubError } from "../errors.ts";
import { addressKey, type Limit } from "../limit.ts";
import { unreadBytesMax } from "../stream.ts";
import type { TransportOptions } from "./transport.ts";

export interface StrangerOptions {
  isAllowedOrigin: (origin: string | undefined) => boolean;
  /** Where a request comes from, as far as proxies are trusted. */
  addressOf: (request: IncomingMessage) => string;
  /** Requests per address. */
  limit: Limit;
}

/** Counts what was handed to a connection since it last drained, and cuts off a reader that falls too far behind. */
export function boundUnread(connection: Socket["conn"]): void {
  let unreadBytes = 0;
  connection.on("packetCreate", ({ data }: { data?: unknown }) => {
    unreadBytes += typeof data === "string" ? data.length : 0;
    // Without waiting for what is unread to be read.
    if (unreadBytes > unreadBytesMax) connection.close(true);
  });
  connection.on("drain", () => {
    unreadBytes = 0;
  });
}

/** Connections begin below Socket.IO and Fastify: the limits of each address are kept there, with a `Retry-After` where there is an answer. */
export function boundStrangers(
  engine: Server["engine"],
  { addressOf, gate, limit, isAllowedOrigin }: StrangerOptions & Pick<TransportOptions, "gate">,
): void {
  engine.use(async (request: IncomingMessage, response: ServerResponse, next: () => void) => {
    // `allowRequest` is asked of a connection's first request alone; this one may be another page's that goes on with it.
    if (!isAllowedOrigin(request.headers.origin)) {
      response.writeHead(403);
      response.end();
      return;
    }
    try {
      const address = addressOf(request);
      await limit.take(addressKey(address));
      // Of a connection that is yet to begin; how many there are is counted below.
      if (!/[?&]sid=/.test(request.url ?? "")) gate.check(address);
      next();
    } catch (error) {
      const seconds = error instanceof HubError ? (error.details.retryAfterS ?? 1) : 1;
      // Of an upgrade, engine.io's response has no status: it answers `undefined` to this, and its end cuts off.
      response.writeHead(429, { "retry-after": String(seconds) });
      response.end();
    }
  });
  engine.on(
    "connection",
    (connection: { request: IncomingMessage; close(): void; once(event: "close", listener: () => void): void }) => {
      try {
        const address = addressOf(connection.request);
        gate.enter(address);
        connection.once("close", () => gate.leave(address));
      } catch {
        connection.close(); // Full: to come back later.
      }
    },
  );
}
