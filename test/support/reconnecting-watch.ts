/**
 * Watchers that reconnect: one plain client per transport, which sends the last version it has seen, and the SDK. Each keeps
 * every event in the order of arrival, so that tests can check the server's guarantees.
 */
import { EventSource } from "eventsource";
import { io } from "socket.io-client";
import { vi } from "vitest";
import { WebSocket } from "ws";
import { watchOrder } from "../../client-sdk/index.ts";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { type TransportName, transportNames } from "./watch.ts";

/** A plain client of each transport, and the SDK, which chooses its transport. */
export const clientNames: readonly ClientName[] = [...transportNames, "SDK"];

export type ClientName = TransportName | "SDK";

export interface WatchTarget {
  url: string;
  orderId: string;
  token: string;
}

export interface ReconnectingWatch {
  client: ClientName;
  /** Every received event, over all connections. */
  seen: StatusEvent[];
  /** The highest received version; 0 before the first. */
  readonly version: number;
  /** Number of refusals after which a client must not reconnect. */
  refusals: number;
  until(fits: (event: StatusEvent) => boolean): Promise<StatusEvent>;
  close(): void;
}

interface Connection {
  target: WatchTarget;
  /** The highest version received so far. */
  after(): number;
  received(event: StatusEvent): void;
  refused(): void;
}

/** Opens one connection and calls `gone` when it is lost. Returns a function that closes it. */
type Link = (connection: Connection, gone: () => void) => () => void;

const search = ({ target, after }: Connection): string =>
  new URLSearchParams({ token: target.token, after: String(after()) }).toString();

const orderUrl = ({ target }: Connection): string => `${target.url}/v1/orders/${target.orderId}`;

/** Socket.IO's client reconnects on its own. */
const socketIo: Link = (connection) => {
  const socket = io(connection.target.url, {
    auth: (answer) => answer({ token: connection.target.token, after: connection.after() }),
    transports: ["websocket"],
    forceNew: true,
    timeout: 2_000,
    reconnectionDelay: 100,
    reconnectionDelayMax: 500,
  });
  socket.on("status", connection.received);
  socket.on("connect_error", () => {
    if (!socket.active) connection.refused();
  });
  socket.on("disconnect", () => {
    if (!socket.active) connection.refused();
  });
  return () => {
    socket.off();
    socket.disconnect();
  };
};

const webSocket: Link = (connection, gone) => {
  const url = `${orderUrl(connection).replace("http", "ws")}/socket?${search(connection)}`;
  const socket = new WebSocket(url, { handshakeTimeout: 2_000 });
  socket.on("message", (data) => connection.received(JSON.parse(String(data))));
  socket.on("error", () => undefined);
  socket.on("close", (code) => {
    if (code === 4401 || code === 4404) connection.refused();
    else gone();
  });
  return () => socket.terminate();
};

const eventSource: Link = (connection) => {
  const source = new EventSource(`${orderUrl(connection)}/events?${search(connection)}`);
  source.addEventListener("status", ({ data }) => connection.received(JSON.parse(data)));
  // EventSource reconnects on its own, except after an answer that is no event stream.
  source.addEventListener("error", () => {
    if (source.readyState === source.CLOSED) connection.refused();
  });
  return () => source.close();
};

const longPoll: Link = (connection, gone) => {
  const stopped = new AbortController();
  const poll = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      const after = connection.after();
      const response = await fetch(`${orderUrl(connection)}/wait?${search(connection)}&timeout=5`, {
        signal: AbortSignal.any([stopped.signal, AbortSignal.timeout(8_000)]),
      });
      if (response.status === 401 || response.status === 404) return connection.refused();
      if (response.status !== 200) throw new Error(`HTTP ${response.status}`);
      const event = (await response.json()) as StatusEvent;
      // The same version means that the poll timed out.
      if (event.version !== after) connection.received(event);
    }
  };
  poll().catch(gone);
  return () => stopped.abort();
};

/** The SDK reconnects on its own. */
const sdk: Link = ({ target, received, refused }) => {
  const watch = watchOrder({ ...target, storage: null });
  watch.subscribe(({ event, error }) => {
    if (error) refused();
    else if (event) received(event);
  });
  return watch.close;
};

const links: Record<ClientName, Link> = {
  "Socket.IO": socketIo,
  WebSocket: webSocket,
  "server-sent events": eventSource,
  "long poll": longPoll,
  SDK: sdk,
};

/** Starts a watch that reconnects until it is closed. */
export function startReconnectingWatch(client: ClientName, target: WatchTarget): ReconnectingWatch {
  const seen: StatusEvent[] = [];
  let version = 0;
  let end = (): void => undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  const connection: Connection = {
    target,
    after: () => version,
    received(event) {
      // The SDK also notifies its listeners of connection changes.
      if (event === seen.at(-1)) return;
      seen.push(event);
      version = Math.max(version, event.version);
    },
    refused() {
      watch.refusals += 1;
    },
  };
  const begin = (): void => {
    if (isClosed) return;
    let isGone = false;
    end = links[client](connection, () => {
      if (isGone || isClosed) return;
      isGone = true;
      timer = setTimeout(begin, 50 + 200 * Math.random());
    });
  };
  const watch: ReconnectingWatch = {
    client,
    seen,
    get version() {
      return version;
    },
    refusals: 0,
    until: (fits) => vi.waitUntil(() => seen.find(fits), { timeout: 40_000, interval: 5 }),
    close() {
      isClosed = true;
      clearTimeout(timer);
      end();
    },
  };
  begin();
  return watch;
}
