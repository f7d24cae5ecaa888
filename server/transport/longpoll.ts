/**
 * Long poll: answers as soon as the order has a version newer than `after`, or, without `after`, as soon as it is settled.
 * Answers with the current state after `timeout` seconds, when the token expires, and when the node drains. Any node can
 * answer.
 */
import type { FastifyInstance } from "fastify";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { isAt, nowhere } from "../order/order.ts";
import { statusEvent } from "../schema/answer.ts";
import { succeeded } from "../schema/example.ts";
import { described, openedBy, watchProblems } from "../schema/route.ts";
import { subscribe, type Watcher } from "../status/hub.ts";
import { parseInput, wholeText } from "../validation.ts";
import {
  authorizeWatcher,
  cancelExpiry,
  type Drainable,
  type Expiring,
  type OrderRequest,
  startExpiry,
  type TransportOptions,
  watchQuery,
} from "./transport.ts";

/** The query parameters of a long poll. */
export const waitQuery = watchQuery.extend({
  timeout: wholeText(1, 60, { description: "The longest time to wait, in seconds.", examples: [25] }).default(25),
});

const waitForOrder = described({
  operationId: "waitForOrder",
  tag: "Watching",
  summary: "Wait for a newer state (long poll)",
  description:
    "Answers as soon as there is a version newer than `after`, or, without `after`, as soon as the order is settled. Answers with the current state after `timeout` seconds and when the token expires. Any node can answer.",
  security: openedBy.watcher,
  querystring: waitQuery,
  answers: { 200: { description: "The order's current state.", schema: statusEvent, example: succeeded } },
  problems: watchProblems,
});

export function longPollRoute(app: FastifyInstance, { hub, access, connectionLimit }: TransportOptions): Drainable {
  const waiting = new Set<() => void>();
  let isClosing = false;

  app.get<OrderRequest>(
    "/v1/orders/:orderId/wait",
    { exposeHeadRoute: false, ...waitForOrder },
    async (request, reply) => {
      const { after, clock = false, timeout } = parseInput(waitQuery, request.query);
      const { id, expiresAtS, key } = await authorizeWatcher(access, request);
      const { ip } = request;
      let seen = after;
      const isEnough = (event: StatusEvent): boolean => {
        // A version without an epoch is one of the epoch at the time of the request: a client that knows no epochs would otherwise be
        // answered at once, again and again.
        seen &&= { epoch: event.epoch ?? 0, ...seen };
        return seen ? !isAt(seen, event) : event.settled;
      };

      let latest: string | undefined;
      const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
      const receive = (event: StatusEvent, json: string): void => {
        const isDone = isEnough(event);
        // A state that waits for the timeout is sent later than it was read.
        latest = isDone || !clock ? json : JSON.stringify({ ...event, sentAt: undefined });
        if (isDone) answer();
      };
      const watcher: Watcher = { id, transport: "longpoll", epoch: 0, version: 0, isPaid: false, receive };
      const expiring: Expiring = { expiresAtS, key, expire: answer };
      const { socket } = request.raw;
      connectionLimit.acquire(ip);
      let timer: NodeJS.Timeout | undefined;
      try {
        await subscribe(hub, watcher, { after: nowhere, clock });
        timer = setTimeout(answer, timeout * 1_000);
        startExpiry(expiring);
        socket.once("close", answer);
        waiting.add(answer);
        if (isClosing || socket.destroyed) answer();
        await answered;
      } finally {
        clearTimeout(timer);
        hub.unwatch(watcher);
        connectionLimit.release(ip);
        cancelExpiry(expiring);
        socket.off("close", answer);
        waiting.delete(answer);
      }
      return reply.type("application/json; charset=utf-8").header("cache-control", "no-store").send(latest);
    },
  );

  return {
    startDrain() {
      isClosing = true;
      return [...waiting];
    },
    close: () => Promise.resolve(),
  };
}
