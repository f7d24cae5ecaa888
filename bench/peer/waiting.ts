/**
 * The usual solutions, in front of the same SQL: `GET /:id` answers the row (for polling); `GET /:id/wait` is a long poll
 * that holds one Redis connection per waiting request.
 */
import { createServer } from "node:http";
import { Redis } from "ioredis";
import { openWork } from "../work.ts";

const { PORT, DATABASE_URL = "", REDIS_URL = "" } = process.env;
const work = openWork(DATABASE_URL);
const publisher = new Redis(REDIS_URL);
const waitMs = 25_000;

/** Subscribes first, reads second, then waits, so that no event is missed. */
async function waitFor(id: string): Promise<string> {
  const redis = new Redis(REDIS_URL);
  try {
    const { promise, resolve } = Promise.withResolvers<string>();
    redis.on("message", (_channel: string, json: string) => resolve(json));
    await redis.subscribe(id);
    const current = await work.current(id);
    const json = JSON.stringify(current);
    if (current?.settled) return json;
    const timer = setTimeout(() => resolve(json), waitMs);
    const answer = await promise;
    clearTimeout(timer);
    return answer;
  } finally {
    redis.disconnect();
  }
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", async () => {
    const [, id = "", wait] = request.url?.split("/") ?? [];
    response.setHeader("content-type", "application/json");
    if (request.method !== "POST") {
      if (id === "") return response.end();
      return response.end(wait === undefined ? JSON.stringify(await work.current(id)) : await waitFor(id));
    }
    const event = await work.apply(id, Buffer.concat(chunks), request.headers);
    void publisher.publish(id, JSON.stringify(event));
    response.end('{"ResultCode":0,"ResultDesc":"Accepted"}');
  });
});
server.requestTimeout = 0;
server.listen(Number(PORT), "127.0.0.1", () => void globalThis.gc?.());
