/** A TCP proxy in front of a node that can close, freeze or refuse connections. */

import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface Network {
  url: string;
  /** Number of connections accepted so far. */
  accepted(): number;
  /** Closes all connections. */
  cut(): void;
  /** Stops forwarding bytes on all open connections without closing them. New connections work. */
  freeze(): void;
  /** Resets new connections while `isRefusing` is true. */
  refuse(isRefusing: boolean): void;
}

export async function startNetwork(targetUrl: string): Promise<Network> {
  const { hostname, port } = new URL(targetUrl);
  const pairs = new Set<[Socket, Socket]>();
  let count = 0;
  let isRefusing = false;
  const server = createServer((near) => {
    count += 1;
    if (isRefusing) return void near.resetAndDestroy();
    const far = connect(Number(port), hostname);
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    near.pipe(far);
    far.pipe(near);
    for (const socket of pair) {
      socket.on("error", () => undefined);
      socket.on("close", () => {
        pairs.delete(pair);
        for (const other of pair) other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = (): void => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  };
  onTestFinished(() => {
    cut();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    accepted: () => count,
    cut,
    freeze() {
      for (const [near, far] of pairs) {
        near.unpipe(far);
        far.unpipe(near);
      }
    },
    refuse(refusing) {
      isRefusing = refusing;
    },
  };
}
