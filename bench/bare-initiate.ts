/**
 * What initiating is compared with: a bare Fastify route that makes one commit and answers 202. Of one row; or, with
 * `COMMITS=order`, of all that Tukio commits then: order, payment and event, no limits and no token.
 */
import Fastify from "fastify";
import { openDatabase } from "../server/order/database.ts";
import type { PaymentDraft } from "../server/order/draft.ts";
import { createOrderStore } from "../server/order/store.ts";

const { PORT, DATABASE_URL = "", COMMITS } = process.env;
const database = openDatabase(DATABASE_URL, () => undefined);
const { pool } = database;
await pool.query("create table if not exists bare (id bigint generated always as identity primary key, body jsonb)");
const store = createOrderStore({ database, announce: () => undefined, bareProviders: [] });
const app = Fastify();
app.get("/", async () => "ok");
app.post<{ Body: Omit<PaymentDraft, "amountMinor"> & { amountMinor: number } }>(
  "/v1/payments",
  async (request, reply) => {
    if (COMMITS === "order") {
      const { body } = request;
      const draft = { ...body, amountMinor: BigInt(body.amountMinor), live: true, deadlineS: 120 };
      return reply.code(202).send((await store.open(draft)).event);
    }
    const values = [JSON.stringify(request.body)];
    const { rows } = await pool.query({
      name: "one",
      text: "insert into bare (body) values ($1) returning id, body",
      values,
    });
    return reply.code(202).send(rows[0]);
  },
);
await app.listen({ port: Number(PORT), host: "127.0.0.1" });
