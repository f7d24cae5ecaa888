/** One plain client per transport, independent of the SDK. Each records every event in order. */
import { setTimeout as delay } from "node:timers/promises";
import { EventSource } from "eventsource";
import { io, type Socket } from "socket.io-client";
import { onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { TestNode } from "./node.ts";

export interface Watch {
  seen: StatusEvent[];
  /** Waits for the first event that fits, including past ones. */
  until(fits: (event: StatusEvent) => boolean): Promise<StatusEvent>;
  close(): void;
}

export interface Target {
  node: Pick<TestNode, "url">;
  orderId: string;
  token: string;
  after?: number | string;
  /** Asks for the server's time. */
  clock?: boolean;
}

type Start = (target: Target, received: (event: StatusEvent) => void) => () => void;

const query = ({ token, after, clock }: Target): string => {
  const search = new URLSearchParams({ token });
  if (after !== undefined) search.set("after", String(after));
  if (clock !== undefined) search.set("clock", String(clock));
  return search.toString();
};

const overSocketIo: Start = ({ node, token, after, clock }, received) => {
  const socket: Socket = io(node.url, {
    auth: { token, ...(after !== undefined && { after }), ...(clock !== undefined && { clock }) },
    transports: ["websocket"],
    forceNew: true,
  });
  socket.on("status", received);
  return () => socket.disconnect();
};

/** WebSocket close code 1013, "try again later". */
const tryAgainLater = 1013;

const overWebSocket: Start = (target, received) => {
  let isOver = false;
  let socket: WebSocket;
  const open = (after = target.after): void => {
    const known = { ...target, ...(after !== undefined && { after }) };
    socket = new WebSocket(
      `${target.node.url.replace("http", "ws")}/v1/orders/${target.orderId}/socket?${query(known)}`,
    );
    socket.on("message", (data) => {
      const event: StatusEvent = JSON.parse(String(data));
      after = event.version;
      received(event);
    });
    socket.on("error", () => undefined);
    // Reconnect, because the outage is temporary.
    socket.on("close", (code) => code === tryAgainLater && setTimeout(() => isOver || open(after), 50));
  };
  open();
  return () => {
    isOver = true;
    socket.terminate();
  };
};

/** EventSource reconnects on its own. */
const overEventSource: Start = (target, received) => {
  const source = new EventSource(`${target.node.url}/v1/orders/${target.orderId}/events?${query(target)}`);
  source.addEventListener("status", ({ data }) => received(JSON.parse(data)));
  return () => source.close();
};

const overLongPoll: Start = (target, received) => {
  const stopped = new AbortController();
  const poll = async (): Promise<void> => {
    for (let after = target.after ?? 0; !stopped.signal.aborted; ) {
      const url = `${target.node.url}/v1/orders/${target.orderId}/wait?${query({ ...target, after })}`;
      const response = await fetch(url, { signal: stopped.signal }).catch(() => undefined);
      if (!response?.ok) {
        // Repeat the poll, as every client does after a temporary failure.
        await delay(50, undefined, { signal: stopped.signal });
        continue;
      }
      const event = (await response.json()) as StatusEvent;
      if (event.version !== after) received(event);
      after = event.version;
    }
  };
  poll().catch(() => undefined);
  return () => stopped.abort();
};

export const transports = {
  "Socket.IO": overSocketIo,
  WebSocket: overWebSocket,
  "server-sent events": overEventSource,
  "long poll": overLongPoll,
} as const;

export type TransportName = keyof typeof transports;

export const transportNames = Object.keys(transports) as TransportName[];

/** Starts a watch and closes it with the test. */
export function watch(transport: TransportName, target: Target): Watch {
  const seen: StatusEvent[] = [];
  const close = transports[transport](target, (event) => seen.push(event));
  onTestFinished(close);
  return {
    seen,
    close,
    until: (fits) => vi.waitUntil(() => seen.find(fits), { timeout: 40_000, interval: 5 }),
  };
}
