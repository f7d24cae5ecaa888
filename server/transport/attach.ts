/** Attaches all transports to a node, and drains them together. */
import type { IncomingMessage } from "node:http";
import { compile as compileTrust, default as proxyAddress } from "@fastify/proxy-addr";
import type { FastifyInstance } from "fastify";
import type { Guard } from "../http/connection-guard.ts";
import type { RequestBudget } from "../http/request-budget.ts";
import { eventSourceRoute } from "./eventsource.ts";
import { longPollRoute } from "./longpoll.ts";
import { attachSocketIo } from "./socketio.ts";
import { type Drainable, drain, type TransportOptions } from "./transport.ts";
import { webSocketRoute } from "./websocket.ts";

export interface TransportsOptions extends TransportOptions {
  guard: Guard;
  budget: RequestBudget;
  isAllowedOrigin: (origin: string | undefined) => boolean;
  /** Addresses whose `X-Forwarded-For` is believed. */
  trustedProxies: readonly string[];
}

export interface Transports {
  /** Adds long poll, server-sent events and the raw WebSocket to the scope of the API, whose hooks then hold for them. */
  addRoutes(scope: FastifyInstance): void;
  /**
   * Adds Socket.IO, which takes its requests from the HTTP server and not from a route. Returns how many orders its sockets
   * watch.
   */
  addSocketIo(app: FastifyInstance): () => number;
  /** Disconnects the watchers of all transports. */
  drain(): Promise<void>;
}

export function createTransports(options: TransportsOptions): Transports {
  const { trustedProxies, ...watching } = options;
  const trust = compileTrust([...trustedProxies]);
  const drainable: Drainable[] = [];
  return {
    addRoutes(scope) {
      drainable.push(
        longPollRoute(scope, watching),
        eventSourceRoute(scope, watching),
        webSocketRoute(scope, watching),
      );
    },
    addSocketIo(app) {
      const addressOf = (request: IncomingMessage): string => proxyAddress(request, trust);
      const socketIo = attachSocketIo(app, { ...watching, addressOf });
      drainable.push(socketIo);
      return socketIo.watcherCount;
    },
    drain: () => drain(drainable),
  };
}
