/**
 * Long poll: answers as soon as there is something newer than `after` (without `after`: as soon as the order is
 * settled), or the current state when `timeout` seconds are over, the token runs out or the server is closing. Any node answers.
 */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { afterText, parseInput, wholeText } from "../input.ts";

import { followOrLeave, type Leave, type OrderRequest, onExpiry, type TransportOptions, watched } from "./transport.ts";

/** How a long poll waits. */
export const waitQuery = z.object({ after: afterText.optional(), timeout: wholeText(1, 60).default(25) });

/** Returns how to take leave of all watchers. */
export function longPollRoute(app: FastifyInstance, { hub, access, gate }: TransportOptions): Leave {
  const parked = new Set<() => void>();
  let isClosing = false;

  app.get<OrderRequest>("/v1/orders/:orderId/wait", { exposeHeadRoute: false }, async (request, reply) => {
    const { after, timeout } = parseInput(waitQuery, request.query);
    const { id, expiresAt } = await watched(access, request);
    const leave = gate.enter(request.ip);
    const isEnough = (event: StatusEvent): boolean => (after === undefined ? event.settled : event.version !== after);

    let latest: string | undefined;
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
    const stop = await followOrLeave(hub, { id, after: 0, atLeast: after ?? 0, leave }, (event, json) => {
      latest = json;
      if (isEnough(event)) answer();
    });
    const { socket } = request.raw;
    const timer = setTimeout(answer, timeout * 1_000);
    const cancelExpiry = onExpiry(expiresAt, answer);
    socket.once("close", answer);
    parked.add(answer);
    if (isClosing || socket.destroyed) answer();
    try {
      await answered;
    } finally {
      stop();
      leave();
      clearTimeout(timer);
      cancelExpiry();
      socket.off("close", answer);
      parked.delete(answer);
    }
    return reply.type("application/json; charset=utf-8").header("cache-control", "no-store").send(latest);
  });

  return {
    begin() {
      isClosing = true;
      return [...parked];
    },
    end: () => Promise.resolve(),
  };
}
