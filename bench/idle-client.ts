/**
 * The SDK watching an order of which nothing is heard, on one transport: counts the timers that go off meanwhile, its own
 * and those of Socket.IO's client, but not those within Node's `fetch`, which has a clock that browsers have not. Told
 * where to watch by its arguments, says the count to its parent.
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
// What opening took is over.
await wait(1_000);
wakeUps = 0;
await wait(Number(seconds) * 1_000);
process.send?.(wakeUps);
watch.close();
process.disconnect();
