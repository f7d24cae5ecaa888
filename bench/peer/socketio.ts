/** Socket.IO as in its documentation, in front of the same SQL. `ADAPTER` is `redis`, `streams` or none. */
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";
import { openWork } from "../work.ts";

const { PORT, DATABASE_URL = "", REDIS_URL = "", ADAPTER } = process.env;
const work = openWork(DATABASE_URL);

const server = createServer((request, response) => {
  if (request.url?.startsWith("/socket.io/")) return;
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", async () => {
    if (request.method !== "POST") return response.end();
    const id = request.url?.slice(1) ?? "";
    const event = await work.apply(id, Buffer.concat(chunks), request.headers);
    io.to(id).emit("status", event);
    response.setHeader("content-type", "application/json");
    response.end('{"ResultCode":0,"ResultDesc":"Accepted"}');
  });
});

const redis = new Redis(REDIS_URL);
const adapter =
  ADAPTER === "redis"
    ? createAdapter(redis, redis.duplicate())
    : ADAPTER === "streams"
      ? createStreamsAdapter(redis)
      : undefined;
const io = new Server(server, { serveClient: false, ...(adapter && { adapter }) });
io.on("connection", (socket) => void socket.join(String(socket.handshake.auth.id)));

server.listen(Number(PORT), "127.0.0.1", () => void globalThis.gc?.());
