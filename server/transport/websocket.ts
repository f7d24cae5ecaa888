/**
 * Raw WebSocket: one StatusEvent per text frame. The Origin is checked before the upgrade, the token after it, because
 * a browser learns nothing but 1006 of a refused upgrade. What the client sends is ignored.
 */
import type { WebSocket } from "@fastify/websocket";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { closeCode } from "../../client-sdk/close-code.ts";
import { HubError } from "../errors.ts";
import {
  afterOf,
  followOrLeave,
  type Leave,
  type OrderRequest,
  onExpiry,
  startHeartbeat,
  type TransportOptions,
  unreadBytesMax,
  watched,
} from "./transport.ts";

/** Clients that miss one whole interval without a pong are gone. */
const heartbeatMs = 25_000;

/** How long a client may take to answer a close before it is cut off. */
const closeGraceMs = 1_000;

/** Returns how to take leave of all watchers. */
export function webSocketRoute(app: FastifyInstance, { hub, access, gate }: TransportOptions): Leave {
  const answered = new WeakSet<WebSocket>();
  let isClosing = false;

  const heartbeat = startHeartbeat<WebSocket>(heartbeatMs, {
    beat(socket) {
      if (answered.delete(socket)) socket.ping();
      else socket.terminate();
    },
    onError: (error) => app.log.error({ err: error }, "heartbeat failed"),
  });

  const serve = async (socket: WebSocket, request: FastifyRequest<OrderRequest>): Promise<void> => {
    const { id, expiresAt } = await watched(access, request);
    const leaveGate = gate.enter(request.ip);
    const stop = await followOrLeave(hub, { id, after: afterOf(request) ?? 0, leave: leaveGate }, (_event, json) => {
      if (socket.readyState !== socket.OPEN) return;
      if (socket.bufferedAmount > unreadBytesMax) close(socket, closeCode.tooSlow, "too slow");
      else socket.send(json);
    });
    const cancelExpiry = onExpiry(expiresAt, () => close(socket, closeCode.tokenExpired, "token expired"));
    const leave = (): void => {
      stop();
      leaveGate();
      cancelExpiry();
    };
    if (socket.readyState === socket.CLOSED) leave();
    else socket.once("close", leave);
  };

  const preValidation = async (request: FastifyRequest): Promise<void> => void afterOf(request);

  /** Of an upgrade, the line of the log is written when it begins; it has no response, and what would be one is let go. */
  const preHandler = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (!request.ws) return;
    request.log.info({ req: request, status: 101 }, "request");
    reply.raw.detachSocket(request.raw.socket);
  };

  function onAnswer(this: WebSocket): void {
    answered.add(this);
  }

  function onError(this: WebSocket, error: Error): void {
    app.log.info({ err: error }, "socket failed");
  }

  function onClose(this: WebSocket): void {
    heartbeat.delete(this);
  }

  // An open socket holds on to nothing of its request, which would double what it takes.
  app.get<OrderRequest>(
    "/v1/orders/:orderId/socket",
    { websocket: true, preValidation, preHandler },
    (socket, request) => {
      if (isClosing) return close(socket, closeCode.restarting, "restarting");
      answered.add(socket);
      heartbeat.add(socket);
      socket.removeAllListeners("error");
      socket.on("error", onError).on("pong", onAnswer).on("message", onAnswer).on("close", onClose);
      serve(socket, request).catch((error: unknown) => {
        const { code, reason } = refusal(error);
        const isExpected = error instanceof HubError && error.code === "rate_limited";
        if (code === closeCode.tryAgainLater && !isExpected) request.log.error({ err: error }, "socket not served");
        close(socket, code, reason);
      });
    },
  );

  return {
    begin() {
      isClosing = true;
      return heartbeat.connections().map((socket) => () => close(socket, closeCode.restarting, "restarting"));
    },
    end: heartbeat.close,
  };
}

/** Closes politely, and for certain. */
function close(socket: WebSocket, code: number, reason: string): void {
  socket.close(code, reason);
  const timer = setTimeout(() => socket.terminate(), closeGraceMs);
  socket.once("close", () => clearTimeout(timer));
}

/** What a client is told that cannot be served: stay away, or come back. */
function refusal(error: unknown): { code: number; reason: string } {
  if (!(error instanceof HubError)) return { code: closeCode.tryAgainLater, reason: "internal" };
  switch (error.code) {
    case "token_expired":
      return { code: closeCode.tokenExpired, reason: error.code };
    case "token_invalid":
      return { code: closeCode.tokenRefused, reason: error.code };
    case "order_unknown":
      return { code: closeCode.orderUnknown, reason: error.code };
    default:
      return { code: closeCode.tryAgainLater, reason: error.code };
  }
}
