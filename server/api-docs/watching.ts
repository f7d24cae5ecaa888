/** The ways to watch an order that are HTTP requests. */
import type { ErrorCode } from "../errors.ts";
import { waitQuery } from "../transport/longpoll.ts";
import { positionQuery } from "../transport/transport.ts";
import { succeeded } from "./example.ts";
import { type Described, described, type Operation, type Parameter, watcher } from "./operation.ts";
import { statusEvent } from "./shape.ts";

const after = { description: "The last version seen; what is known is not sent again.", example: 1 };
const position: Described = described(positionQuery, { after });

const refusals: readonly ErrorCode[] = [
  "body_invalid",
  "token_invalid",
  "token_expired",
  "origin_refused",
  "order_unknown",
  "rate_limited",
  "internal",
  "store_unavailable",
];

const wait: Operation = {
  method: "GET",
  url: "/v1/orders/:orderId/wait",
  id: "waitForOrder",
  tag: "Watching",
  summary: "Wait for news (long poll)",
  description:
    "Answers as soon as there is a version newer than `after`; without `after`, as soon as the order is settled; when `timeout` is over or the token runs out, with the current state. Any node answers.",
  openedBy: watcher,
  query: described(waitQuery, {
    after,
    timeout: { description: "How long to wait at most, in seconds.", example: 25 },
  }),
  answers: { 200: { description: "The order as it is.", shapes: [statusEvent], example: succeeded } },
  problems: refusals,
};

const lastEventId: Parameter = {
  name: "Last-Event-ID",
  description: "The last version seen, as a browser that comes back says it; wins over `after`.",
  schema: { type: "string", pattern: "^\\d{1,9}$" },
  example: "1",
};

const events: Operation = {
  method: "GET",
  url: "/v1/orders/:orderId/events",
  id: "streamOrder",
  tag: "Watching",
  summary: "Follow with server-sent events",
  description:
    "The current state first, then every newer one, until you leave or the token runs out. A comment every 15 s. Whoever says `Accept: text/event-stream`, as every `EventSource` does, is never told 429, 500 or 503: the stream ends at once with the time to come back in `retry`, because an `EventSource` gives up for good on any other answer.",
  openedBy: watcher,
  headers: [lastEventId],
  query: position,
  answers: {
    200: {
      description: "`data` is a `StatusEvent`, `id` its version.",
      type: "text/event-stream",
      example: `id: 3\nevent: status\ndata: ${JSON.stringify(succeeded)}\n\n`,
    },
  },
  problems: refusals,
};

const socket: Operation = {
  method: "GET",
  url: "/v1/orders/:orderId/socket",
  id: "openSocket",
  tag: "Watching",
  summary: "Follow with a WebSocket",
  description:
    "One `StatusEvent` per text frame. The token is checked after the upgrade: a refused one is a close code (4401 refused, 4404 unknown order: stay away; 4410 run out: come back with a fresh one; 1012 restarting, 1013 try again later, 4408 too slow: come back). A request without `Upgrade: websocket`, as behind a proxy that removes it, is answered 426.",
  openedBy: watcher,
  query: position,
  answers: { 101: { description: "Upgraded; frames follow." } },
  problems: ["body_invalid", "origin_refused", "upgrade_required", "rate_limited"],
};

export const watchingOperations: readonly Operation[] = [wait, events, socket];
