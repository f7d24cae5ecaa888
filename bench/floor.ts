/**
 * The floor: the smallest program that does the same durable work. One prepared statement on `pg`, `ioredis` publish and
 * subscribe, `ws` send. It has no validation, authentication, rooms, logs, limits or recovery: a lost publication is not
 * repaired. Tukio's cost above the floor is the cost of these features.
 */
import { createServer } from "node:http";
import { Redis } from "ioredis";
import { type WebSocket, WebSocketServer } from "ws";
import { openWork } from "./work.ts";

const { PORT, DATABASE_URL = "", REDIS_URL = "" } = process.env;
const work = openWork(DATABASE_URL);
const publisher = new Redis(REDIS_URL);
const subscriber = new Redis(REDIS_URL);
const watchers = new Map<string, WebSocket>();

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", async () => {
    if (request.method !== "POST") return response.end();
    const id = request.url?.slice(1) ?? "";
    const event = await work.apply(id, Buffer.concat(chunks), request.headers);
    void publisher.publish(id, JSON.stringify(event));
    response.setHeader("content-type", "application/json");
    response.end('{"ResultCode":0,"ResultDesc":"Accepted"}');
  });
});

new WebSocketServer({ server, perMessageDeflate: false }).on("connection", (socket, request) => {
  const id = request.url?.slice(1) ?? "";
  watchers.set(id, socket);
  void subscriber.subscribe(id);
  socket.on("close", () => {
    watchers.delete(id);
    void subscriber.unsubscribe(id);
  });
});
subscriber.on("message", (id: string, json: string) => watchers.get(id)?.send(json));

server.listen(Number(PORT), "127.0.0.1", () => void globalThis.gc?.());
