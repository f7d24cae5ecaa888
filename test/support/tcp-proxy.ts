/**
 * A faulty TCP proxy: it forwards, delays, holds back or discards bytes, and closes or refuses connections. A new connection
 * goes to the first target that accepts it.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** From client to server, and back. */
type Direction = "requests" | "answers";

export interface TcpProxy {
  /** The proxy's URL, with the path and credentials of the first target. */
  url: string;
  /** The URLs to which new connections go, in order of preference. */
  targets: readonly string[];
  /** Resets all connections and refuses new ones. */
  cut(): void;
  /** Resets all connections. New ones work. */
  drop(): void;
  /** Holds back all bytes in these directions until `restore`, also those of new connections. Keeps their order. */
  stall(...directions: Direction[]): void;
  /** Whether the held bytes of a connection contain this text. */
  isHolding(text: string): boolean;
  /** Makes all connections half-open: the client's side stays open, and no byte passes. New ones work. */
  blackhole(): void;
  /** Delays all bytes by `ms` milliseconds. Keeps their order. */
  delay(ms: number): void;
  /** Calls the listener with every chunk that a client sends. */
  onRequestBytes(listener: (chunk: Buffer) => void): void;
  /** Forwards the held bytes and works normally from then on. */
  restore(): void;
}

interface Link {
  near: Socket;
  far: Socket;
  isBlackhole: boolean;
  forwarders: Forwarder[];
}

/** One direction of a link. */
interface Forwarder {
  isHolding(text: string): boolean;
  /** Forwards the held bytes. */
  release(): void;
}

/** The faults that apply now, shared by all links. */
interface State {
  targets: readonly string[];
  links: Set<Link>;
  held: Set<Direction>;
  listeners: ((chunk: Buffer) => void)[];
  isRefusing: boolean;
  delayMs: number;
}

/** Starts a proxy. It stops with the test, or when the function passed to `release` is called. */
export async function startTcpProxy(
  target: string,
  release: (end: () => void) => void = onTestFinished,
): Promise<TcpProxy> {
  const state: State = {
    targets: [target],
    links: new Set(),
    held: new Set(),
    listeners: [],
    isRefusing: false,
    delayMs: 0,
  };
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) => {
    near.on("error", () => undefined);
    if (state.isRefusing) near.resetAndDestroy();
    else connectFirst(state, near, state.targets);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  // Without the trailing slash, because tests append paths to it.
  const proxy = createControls(state, url.href.replace(/^(http:.*)\/$/, "$1"));
  release(() => {
    proxy.cut();
    server.close();
  });
  return proxy;
}

function createControls(state: State, url: string): TcpProxy {
  const forwarders = (): Forwarder[] => [...state.links].flatMap((link) => link.forwarders);
  const drop = (): void => {
    for (const { near, far } of state.links) {
      far.resetAndDestroy();
      near.resetAndDestroy();
    }
  };
  return {
    url,
    get targets() {
      return state.targets;
    },
    set targets(targets) {
      state.targets = targets;
    },
    drop,
    cut() {
      state.isRefusing = true;
      drop();
    },
    stall(...directions) {
      for (const direction of directions) state.held.add(direction);
    },
    isHolding: (text) => forwarders().some((forwarder) => forwarder.isHolding(text)),
    blackhole() {
      for (const link of state.links) {
        link.isBlackhole = true;
        link.far.destroy();
        // Keep reading, so that the client sees no back-pressure.
        link.near.resume();
      }
    },
    delay(ms) {
      state.delayMs = ms;
    },
    onRequestBytes: (listener) => void state.listeners.push(listener),
    restore() {
      state.isRefusing = false;
      state.delayMs = 0;
      state.held.clear();
      for (const { release } of forwarders()) release();
    },
  };
}

/** Connects a client to the first of the targets that accepts the connection. */
function connectFirst(state: State, near: Socket, [target, ...others]: readonly string[]): void {
  if (target === undefined) return void near.resetAndDestroy();
  const { hostname, port } = new URL(target);
  const far = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  const next = (): void => connectFirst(state, near, others);
  far.once("error", next).once("connect", () => {
    far.off("error", next).on("error", () => undefined);
    if (near.destroyed) return void far.destroy();
    openLink(state, near, far);
    near.resume();
  });
}

function openLink(state: State, near: Socket, far: Socket): void {
  const link: Link = { near, far, isBlackhole: false, forwarders: [] };
  link.forwarders = [forward(state, link, "requests"), forward(state, link, "answers")];
  state.links.add(link);
  near.once("close", () => {
    state.links.delete(link);
    far.destroy();
  });
  far.once("close", () => {
    if (!link.isBlackhole) near.destroy();
  });
}

/** Forwards the bytes of one direction. Each chunk is treated according to the state when it arrives. */
function forward(state: State, link: Link, direction: Direction): Forwarder {
  const [from, to] = direction === "requests" ? [link.near, link.far] : [link.far, link.near];
  let waiting: Buffer[] = [];
  let isEnding = false;
  const pass = (chunk: Buffer): void => {
    if (to.destroyed || link.isBlackhole) return;
    // Keeps the back-pressure: a slow reader must slow down the writer.
    if (!to.write(chunk)) from.pause();
  };
  const end = (): void => {
    if (!link.isBlackhole) to.end();
  };
  const later = (act: () => void): void => {
    if (state.delayMs > 0) setTimeout(act, state.delayMs);
    else act();
  };
  to.on("drain", () => from.resume());
  from.on("data", (chunk: Buffer) => {
    if (direction === "requests") for (const listener of state.listeners) listener(chunk);
    if (state.held.has(direction)) waiting.push(chunk);
    else later(() => pass(chunk));
  });
  from.on("end", () => {
    if (state.held.has(direction)) isEnding = true;
    else later(end);
  });
  return {
    isHolding: (text) => Buffer.concat(waiting).includes(text),
    release() {
      for (const chunk of waiting) pass(chunk);
      waiting = [];
      if (isEnding) end();
    },
  };
}
