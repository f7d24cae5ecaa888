/** A process that gets SIGTERM while a thousand long polls wait on connections that are kept alive. */
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { json } from "node:stream/consumers";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createDatabase } from "../support/database.ts";
import { pay } from "../support/node.ts";
import { startTestProcess } from "../support/process.ts";
import { scrape } from "../support/scrape.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";

// 60 s, because a thousand connections take long on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

function createAgent(): Agent {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 1_000 });
  onTestFinished(() => agent.destroy());
  return agent;
}

async function poll(url: string, agent: Agent) {
  const sent = request(url, { agent }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  const { version } = (await json(response)) as StatusEvent;
  return {
    status: response.statusCode,
    version,
    connection: response.headers.connection,
    isReused: sent.reusedSocket,
  };
}

const times = <T>(count: number, act: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, act));

describe("a node that stops while long polls wait", () => {
  it("answers each with the current state and ends its connection, and answers on idle connections", async () => {
    const daraja = await startScriptedDaraja();
    const env = { DATABASE_URL: databaseUrl, LIMIT_IP: "1000000", LOG_LEVEL: "info", ...daraja.env };
    const node = await startTestProcess(env);
    const { order, watchToken: token } = await pay(node);
    // The node listens until this push is answered.
    const push = await daraja.nextPush();
    const at = `${node.url}/v1/orders/${order.orderId}/wait?token=${token}`;
    const [waiting, idle] = [createAgent(), createAgent()];
    // These answers leave connections that are kept alive.
    await times(1_000, () => poll(`${at}&after=0`, waiting));
    await times(20, () => poll(`${at}&after=0`, idle));
    const answers = times(1_000, () => poll(`${at}&after=1&timeout=60`, waiting));
    const watchers = async () => (await scrape(node)).value("tukio_watchers", { transport: "longpoll" });
    await vi.waitUntil(async () => (await watchers()) === 1_000, { timeout: 30_000, interval: 100 });
    const exited = node.end("SIGTERM");
    const last = { status: 200, version: 1, connection: "close", isReused: true };
    expect(await answers).toEqual(Array(1_000).fill(last));
    expect(await times(20, () => poll(`${at}&after=1`, idle))).toEqual(Array(20).fill(last));
    push.accept();
    expect(await exited).toEqual([0, null]);
  });
});
