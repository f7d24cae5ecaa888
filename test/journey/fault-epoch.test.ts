/** PostgreSQL goes back to an older state under a node with watchers: every watcher shows what the database has then. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import {
  eventSource,
  longPoll,
  type OrderWatch,
  socketIo,
  type Transport,
  watchOrder,
  webSocket,
} from "../../client-sdk/index.ts";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createCleanups, deliver, failure, openPushLog, success, unlimited } from "../support/deployment.ts";
import { asMerchant, nodeAt, pay } from "../support/node.ts";
import { startPostgres } from "../support/postgres.ts";
import { startProcess } from "../support/process.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { watch as watchPlainly } from "../support/watch.ts";

vi.setConfig({ testTimeout: 120_000 });

const stateOf = ({ epoch, version, status }: Partial<StatusEvent>) => ({ epoch, version, status });

async function start() {
  const cleanups = createCleanups();
  onTestFinished(cleanups.runAll);
  const postgres = await startPostgres();
  cleanups.add(postgres.close);
  const pushLog = await openPushLog(cleanups);
  const proxy = await startTcpProxy(postgres.url, cleanups.add);
  const node = await startProcess({ DATABASE_URL: proxy.url, ...unlimited, ...pushLog.env });
  cleanups.add(node.close);
  return { postgres, pushLog, proxy, node };
}

describe("a database that goes back", () => {
  it("is shown to every watcher in a new epoch, and so are the changes after it (G4, G5)", async () => {
    const { postgres, pushLog, proxy, node } = await start();
    const { order, watchToken: token } = await pay(nodeAt(node.url));
    const push = await pushLog.push(order.payment.id);
    push.accept();
    const open = (transport: Transport): OrderWatch => {
      const watch = watchOrder({ url: node.url, orderId: order.orderId, token, transports: [transport] });
      onTestFinished(watch.close);
      return watch;
    };
    const watches = [socketIo(), webSocket(), eventSource(), longPoll()].map(open);
    const all = (fits: (event: StatusEvent) => boolean) =>
      vi.waitUntil(() => watches.every((one) => fits(one.snapshot().event ?? order)), { timeout: 60_000 });
    await all(({ version }) => version === 2);

    await postgres.save();
    proxy.targets = [postgres.url];
    await deliver(node, push, success());
    await all(({ version }) => version === 3);
    await postgres.goBack();
    proxy.targets = [postgres.url];
    await all(({ epoch = 0, version }) => epoch > 0 && version === 2);

    // The lost success is not delivered again. A failure takes its version.
    await deliver(node, push, failure);
    await all(({ version, status }) => version === 3 && status === "failed");
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    const { order: stored } = body as unknown as { order: StatusEvent };
    expect(watches.map((one) => stateOf(one.snapshot().event ?? {}))).toEqual(watches.map(() => stateOf(stored)));

    // A client that comes back with the same version of the lost epoch gets the state, one of this epoch does not.
    const url = `${node.url}/v1/orders/${order.orderId}/wait?token=${token}&timeout=1&after=`;
    const answer = async (after: string) => (await (await fetch(url + after)).json()) as StatusEvent;
    expect(stateOf(await answer("0.3"))).toEqual(stateOf(stored));
    for (const transport of ["Socket.IO", "WebSocket", "server-sent events"] as const) {
      for (const after of ["0.3", "3"]) {
        const lost = watchPlainly(transport, { node, orderId: order.orderId, token, after });
        expect(stateOf(await lost.until(() => true))).toEqual(stateOf(stored));
      }
    }
    await vi.waitUntil(() => node.output().includes("database.epoch.started"));
  });
});
