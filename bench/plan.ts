/** What the bench's processes say to each other. */

export type WatchVia = "websocket" | "socketio" | "eventsource" | "longpoll" | "poll";

/** One order of a target: where to watch it, and the webhook that pays it. */
export interface Job {
  id: string;
  watchUrl: string;
  token?: string;
  webhookUrl: string;
  body: string;
}

/** Asked of the load generator. */
export type Ask =
  | { ask: "watch"; via: WatchVia; jobs: Job[]; expects: string }
  | { ask: "fire"; jobs: Job[]; ratePerS: number; seed: number }
  | { ask: "call"; calls: Call[]; ratePerS: number; seed: number }
  | { ask: "leave" };

export interface Call {
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** What one burst of webhooks came to. Times in milliseconds; `Infinity` does not survive JSON, so losses are counted. */
export interface Fired {
  ratePerS: number;
  sent: number;
  /** From sending the webhook to its watcher having the event. */
  latencyMs: number[];
  /** From sending the webhook to its answer. */
  answerMs: number[];
  /** Not 2xx, or no answer. */
  refused: number;
  /** No event within the patience. */
  lost: number;
  /** How late the generator itself sent, against its own schedule. */
  lagMs: number[];
  /** The generator's own CPU. */
  cpuMs: number;
  tookMs: number;
  /** Requests that the watchers made meanwhile (long poll and polling). */
  asks: number;
}

export interface Watching {
  open: number;
  failed: number;
}
