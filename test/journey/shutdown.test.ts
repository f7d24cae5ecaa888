/** A process that gets SIGTERM while a thousand long polls wait on connections that are kept alive. */
import { once } from "node:events";
import { Agent, type IncomingMessage, type RequestOptions, request } from "node:http";
import { json, text } from "node:stream/consumers";
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

describe("a node that stops while watchers poll and stream on connections that are kept alive", () => {
  it("ends the connection with each answer, of Socket.IO too", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startTestProcess({ DATABASE_URL: databaseUrl, LIMIT_IP: "1000000", ...daraja.env });
    const { order, watchToken: token } = await pay(node);
    const push = await daraja.nextPush();
    const agent = createAgent();
    const send = async (path: string, { body, ...options }: RequestOptions & { body?: string } = {}) => {
      const sent = request(node.url + path, { agent, ...options }).end(body);
      const [response] = (await once(sent, "response")) as [IncomingMessage];
      return { response, connection: response.headers.connection, read: () => text(response) };
    };
    const polling = "/socket.io/?EIO=4&transport=polling";
    const sid = /"sid":"([^"]+)"/.exec(await (await send(polling)).read())?.[1];
    const session = `${polling}&sid=${sid}`;
    await (await send(session, { method: "POST", body: `40${JSON.stringify({ token })}` })).read();
    let polled = "";
    while (!polled.includes('"status"')) polled += await (await send(session)).read();
    const waiting = send(session);
    const stream = await send(`/v1/orders/${order.orderId}/events?token=${token}`);
    expect(stream.connection).toBe("keep-alive");
    const { socket } = stream.response;
    const closed = once(socket, "close");
    const exited = node.end("SIGTERM");
    expect((await waiting).connection).toBe("close");
    await stream.read();
    await closed;
    expect((await send(polling)).connection).toBe("close");
    expect((await send("/livez")).connection).toBe("close");
    push.accept();
    expect(await exited).toEqual([0, null]);
  });
});
