/**
 * A proxy between a client and a server that can break: every TCP connection goes through this process, which passes
 * bytes on, holds them back, forgets them or cuts them off. A connection begins at the first target that takes it.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** What clients say, and what they are answered. */
type Direction = "requests" | "answers";

export interface TcpProxy {
  /** The first target's address at the near end. */
  url: string;
  /** The addresses where new connections go: to the first that takes one. */
  targets: readonly string[];
  /** Ends what is connected and refuses what comes: no goodbye from the server, only the end. */
  cut(): void;
  /** Ends what is connected; what comes is served. */
  drop(): void;
  /** Holds back what is said in these directions, in order, until mended; new connections begin, and wait too. */
  stall(...directions: Direction[]): void;
  /** Whether something with this text in it is being held back. */
  isHolding(text: string): boolean;
  /** Half-open: the connections of now stay open at the near end and carry nothing ever again. New ones work. */
  blackhole(): void;
  /** Passes everything on so many milliseconds late, in order. */
  delay(ms: number): void;
  /** Hears what clients say, as it comes. */
  onRequestBytes(listener: (chunk: Buffer) => void): void;
  /** From now on, and for what was held back, the proxy works. */
  restore(): void;
}

interface Link {
  near: Socket;
  far: Socket;
  isForgotten: boolean;
  carriers: Carrier[];
}

/** One direction of a link. */
interface Carrier {
  isHolding(text: string): boolean;
  /** Passes on what was held back. */
  release(): void;
}

/** Ends with the test, or when `release` says. */
export async function startTcpProxy(
  target: string,
  release: (end: () => void) => void = onTestFinished,
): Promise<TcpProxy> {
  const links = new Set<Link>();
  const held = new Set<Direction>();
  const taps: ((chunk: Buffer) => void)[] = [];
  let isRefusing = false;
  let delayMs = 0;

  /** Passes bytes on as the proxy is at the time. */
  const carry = (link: Link, direction: Direction): Carrier => {
    const [from, to] = direction === "requests" ? [link.near, link.far] : [link.far, link.near];
    let waiting: Buffer[] = [];
    let isEnding = false;
    const pass = (chunk: Buffer): void => {
      if (to.destroyed || link.isForgotten) return;
      // Who does not read must be felt by who writes.
      if (!to.write(chunk)) from.pause();
    };
    const end = (): void => {
      if (!link.isForgotten) to.end();
    };
    const later = (act: () => void): void => {
      if (delayMs > 0) setTimeout(act, delayMs);
      else act();
    };
    to.on("drain", () => from.resume());
    from.on("data", (chunk: Buffer) => {
      if (direction === "requests") for (const hear of taps) hear(chunk);
      if (held.has(direction)) waiting.push(chunk);
      else later(() => pass(chunk));
    });
    from.on("end", () => {
      if (held.has(direction)) isEnding = true;
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
  };

  const lay = (near: Socket, far: Socket): void => {
    const link: Link = { near, far, isForgotten: false, carriers: [] };
    link.carriers = [carry(link, "requests"), carry(link, "answers")];
    links.add(link);
    near.once("close", () => {
      links.delete(link);
      far.destroy();
    });
    far.once("close", () => {
      if (!link.isForgotten) near.destroy();
    });
  };

  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) => {
    near.on("error", () => undefined);
    if (isRefusing) return near.resetAndDestroy();
    const begin = ([target, ...others]: readonly string[]): void => {
      if (target === undefined) return void near.resetAndDestroy();
      const { hostname, port } = new URL(target);
      const far = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
      const next = (): void => begin(others);
      far.once("error", next).once("connect", () => {
        far.off("error", next).on("error", () => undefined);
        if (near.destroyed) return void far.destroy();
        lay(near, far);
        near.resume();
      });
    };
    begin(proxy.targets);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;

  const carriers = (): Carrier[] => [...links].flatMap((link) => link.carriers);
  const drop = (): void => {
    for (const { near, far } of links) {
      far.resetAndDestroy();
      near.resetAndDestroy();
    }
  };
  const proxy: TcpProxy = {
    // A node's address has no path, not even a root.
    url: url.href.replace(/^(http:.*)\/$/, "$1"),
    targets: [target],
    drop,
    cut() {
      isRefusing = true;
      drop();
    },
    stall(...directions) {
      for (const direction of directions) held.add(direction);
    },
    isHolding: (text) => carriers().some((carrier) => carrier.isHolding(text)),
    blackhole() {
      for (const link of links) {
        link.isForgotten = true;
        link.far.destroy();
        // Otherwise the client would feel that we do not read.
        link.near.resume();
      }
    },
    delay(ms) {
      delayMs = ms;
    },
    onRequestBytes: (hear) => void taps.push(hear),
    restore() {
      isRefusing = false;
      delayMs = 0;
      held.clear();
      for (const { release } of carriers()) release();
    },
  };
  release(() => {
    proxy.cut();
    server.close();
  });
  return proxy;
}
