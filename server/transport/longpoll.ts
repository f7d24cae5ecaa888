/**
 * Long poll: answers as soon as there is something newer than `after` (without `after`: as soon as the order is
 * settled), or the current state when `timeout` seconds are over, the token runs out or the server is closing. Any node answers.
 */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { statusEvent } from "../schema/answer.ts";
import { succeeded } from "../schema/example.ts";
import { described, openedBy, watchProblems } from "../schema/route.ts";
import { subscribe, type Watcher } from "../status/hub.ts";
import { afterText, parseInput, wholeText } from "../validation.ts";
import {
  authorizeWatcher,
  cancelExpiry,
  type Drainable,
  type Expiring,
  type OrderRequest,
  startExpiry,
  type TransportOptions,
} from "./transport.ts";

/** How a long poll waits. */
export const waitQuery = z.object({
  after: afterText.optional(),
  timeout: wholeText(1, 60, { description: "How long to wait at most, in seconds.", examples: [25] }).default(25),
});

const waitForOrder = described({
  operationId: "waitForOrder",
  tag: "Watching",
  summary: "Wait for news (long poll)",
  description:
    "Answers as soon as there is a version newer than `after`; without `after`, as soon as the order is settled; when `timeout` is over or the token runs out, with the current state. Any node answers.",
  security: openedBy.watcher,
  querystring: waitQuery,
  answers: { 200: { description: "The order as it is.", schema: statusEvent, example: succeeded } },
  problems: watchProblems,
});

/** Returns how to drain it. */
export function longPollRoute(app: FastifyInstance, { hub, access, connectionLimit }: TransportOptions): Drainable {
  const parked = new Set<() => void>();
  let isClosing = false;

  app.get<OrderRequest>(
    "/v1/orders/:orderId/wait",
    { exposeHeadRoute: false, ...waitForOrder },
    async (request, reply) => {
      const { after, timeout } = parseInput(waitQuery, request.query);
      const { id, expiresAtS } = await authorizeWatcher(access, request);
      const { ip } = request;
      const isEnough = (event: StatusEvent): boolean => (after === undefined ? event.settled : event.version !== after);

      let latest: string | undefined;
      const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
      const receive = (event: StatusEvent, json: string): void => {
        latest = json;
        if (isEnough(event)) answer();
      };
      const watcher: Watcher = { id, transport: "longpoll", version: 0, isPaid: false, receive };
      const expiring: Expiring = { expiresAtS, expire: answer };
      const { socket } = request.raw;
      connectionLimit.acquire(ip);
      let timer: NodeJS.Timeout | undefined;
      try {
        await subscribe(hub, watcher, { after: 0 });
        timer = setTimeout(answer, timeout * 1_000);
        startExpiry(expiring);
        socket.once("close", answer);
        parked.add(answer);
        if (isClosing || socket.destroyed) answer();
        await answered;
      } finally {
        clearTimeout(timer);
        hub.unwatch(watcher);
        connectionLimit.release(ip);
        cancelExpiry(expiring);
        socket.off("close", answer);
        parked.delete(answer);
      }
      return reply.type("application/json; charset=utf-8").header("cache-control", "no-store").send(latest);
    },
  );

  return {
    begin() {
      isClosing = true;
      return [...parked];
    },
    end: () => Promise.resolve(),
  };
}
