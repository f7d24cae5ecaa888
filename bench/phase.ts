/** The phases of a run. Each compares variants or counts something. */
import { backlog } from "./phase/backlog.ts";
import { client } from "./phase/client.ts";
import type { Phase } from "./phase/compare.ts";
import { endpoint } from "./phase/endpoint.ts";
import { growth } from "./phase/growth.ts";
import { initiate } from "./phase/initiate.ts";
import { nchan, peers, socketio, websocket } from "./phase/latency.ts";
import { memory } from "./phase/memory.ts";
import { notification } from "./phase/notification.ts";
import { payment } from "./phase/payment.ts";
import { rate } from "./phase/rate.ts";
import { scale } from "./phase/scale.ts";

export const phases: Record<string, Phase> = {
  websocket,
  socketio,
  nchan,
  payment,
  rate,
  growth,
  memory,
  peers,
  initiate,
  endpoint,
  backlog,
  notification,
  scale,
  client,
};
