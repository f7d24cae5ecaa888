/**
 * Runs the SDK on one transport for an order without events, and counts the timers that fire. It counts the timers of the
 * SDK and of Socket.IO's client, but not those of Node's `fetch`, which browsers do not have. The arguments name the order;
 * the process sends the count to its parent.
 */
import { setTimeout as wait } from "node:timers/promises";

const [url = "", orderId = "", token = "", transport = "", seconds = "30"] = process.argv.slice(2);
let wakeUps = 0;
const { setTimeout: setOne, setInterval: setMany } = globalThis;
const counted = <Rest extends unknown[]>(act: (...given: Rest) => unknown): ((...given: Rest) => unknown) => {
  if (new Error().stack?.includes("node:internal/deps/undici")) return act;
  return (...given) => {
    wakeUps += 1;
    return act(...given);
  };
};
Object.assign(globalThis, {
  setTimeout: (act: () => void, ms?: number) => setOne(counted(act), ms),
  setInterval: (act: () => void, ms?: number) => setMany(counted(act), ms),
});

const { eventSource, longPoll, socketIo, watchOrder, webSocket } = await import("../client-sdk/index.ts");
const create = { socketio: socketIo, websocket: webSocket, eventsource: eventSource, longpoll: longPoll }[transport];
if (!create) throw new Error(`no transport ${transport}`);
const watch = watchOrder({ url, orderId, token, transports: [create()], storage: null });
await new Promise<void>((done) => {
  const stop = watch.subscribe(({ connection }) => {
    if (connection !== "open") return;
    queueMicrotask(() => stop());
    done();
  });
});
// One second, because opening the watch also starts timers.
await wait(1_000);
wakeUps = 0;
await wait(Number(seconds) * 1_000);
process.send?.(wakeUps);
watch.close();
process.disconnect();
