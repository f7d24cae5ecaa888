/**
 * The floor plus Tukio's two fixed choices: Fastify's routing, and the statement that decides. It has no secrets, validation,
 * limits, logs or metrics. Its cost above the floor cannot be reduced without changing these choices.
 */
import Fastify from "fastify";
import { Redis } from "ioredis";
import { type WebSocket, WebSocketServer } from "ws";
import { openDatabase } from "../../server/database/pool.ts";
import { createAdvance } from "../../server/order/advance.ts";
import { type StateRow, toEvent } from "../../server/order/row.ts";
import { readCallback } from "../work.ts";

const { PORT, DATABASE_URL = "", REDIS_URL = "" } = process.env;
const advance = createAdvance(
  openDatabase(DATABASE_URL, () => undefined),
  { amountlessProviders: [], receiptProviders: [] },
);
const publisher = new Redis(REDIS_URL);
const subscriber = new Redis(REDIS_URL);
const watchers = new Map<string, WebSocket>();

const app = Fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
app.get("/", async () => "ok");
app.post<{ Params: { id: string } }>("/:id", async (request, reply) => {
  const body = request.body as Buffer;
  const { reference, receipt, amountMinor } = readCallback(body);
  const row = await advance(
    request.params.id,
    { status: "succeeded", reference, receipt, amountMinor: BigInt(amountMinor), currency: "KES", source: "webhook" },
    { provider: "daraja", proof: "secret", headers: request.headers, body },
  );
  const event = toEvent(row as StateRow);
  const json = JSON.stringify(event);
  watchers.get(event.id)?.send(json);
  void publisher.publish(event.id, json);
  return reply.type("application/json").send('{"ResultCode":0,"ResultDesc":"Accepted"}');
});

new WebSocketServer({ server: app.server, perMessageDeflate: false }).on("connection", (socket, request) => {
  const id = request.url?.slice(1) ?? "";
  watchers.set(id, socket);
  void subscriber.subscribe(id);
  socket.on("close", () => {
    watchers.delete(id);
    void subscriber.unsubscribe(id);
  });
});

await app.listen({ port: Number(PORT), host: "127.0.0.1" });
void globalThis.gc?.();
