/** The messages between the bench's main process and its load generators. */

export type WatchVia = "websocket" | "socketio" | "eventsource" | "longpoll" | "poll";

/** One order of a target: the URL to watch it, and the webhook that pays it. */
export interface Job {
  id: string;
  watchUrl: string;
  token?: string;
  webhookUrl: string;
  body: string;
}

/** A request to the load generator. */
export type LoadRequest =
  | { type: "watch"; via: WatchVia; jobs: Job[]; expects: string }
  | { type: "fire"; jobs: Job[]; ratePerS: number; seed: number }
  | { type: "call"; calls: Call[]; ratePerS: number; seed: number }
  | { type: "leave" };

export interface Call {
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** The result of one burst of webhooks. Times in milliseconds. `lost` counts losses, because JSON has no `Infinity`. */
export interface BurstResult {
  ratePerS: number;
  sent: number;
  /** From the webhook's sending to the event at its watcher. */
  latencyMs: number[];
  /** From the webhook's sending to its answer. */
  answerMs: number[];
  /** Webhooks with an answer other than 2xx, or none. */
  refused: number;
  /** Webhooks without an event within 10 s. */
  lost: number;
  /** The generator's delay against its schedule. */
  lagMs: number[];
  /** The generator's CPU time. */
  cpuMs: number;
  tookMs: number;
  /** Requests of the watchers during the burst (long poll and polling). */
  requests: number;
}

export interface WatchResult {
  open: number;
  failed: number;
}
