import { fork } from "node:child_process";
import { once } from "node:events";
import { startTukio } from "../target/tukio.ts";
import type { Phase } from "./compare.ts";

/** Counts the timers of an idle SDK watch, including those of Socket.IO's client. */
export const client: Phase = async ({ machine, daraja, root, report, settings }) => {
  const target = await startTukio({ machine, daraja, root, name: "client" });
  const seconds = settings.quick ? 30 : 60;
  const [order] = await target.initiate(1);
  if (!order) throw new Error("no order");
  const count = async (transport: string): Promise<number> => {
    const given = [target.program.url, order.orderId, order.token, transport, String(seconds)];
    const child = fork(`${import.meta.dirname}/../idle-client.ts`, given, { execArgv: [] });
    const [wakeUps] = (await once(child, "message")) as [number];
    return wakeUps;
  };
  const transports = ["socketio", "websocket", "eventsource", "longpoll"];
  const found = await Promise.all(transports.map(count));
  transports.forEach((transport, index) => {
    const what = `timers that fire in ${seconds} s of an idle watch, ${transport}`;
    report.facts.push({
      phase: "client",
      what,
      value: found[index] ?? Number.NaN,
      unit: "",
      atMost: Math.ceil(seconds / 25),
    });
  });
  await target.program.stop();
};
