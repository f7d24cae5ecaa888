/**
 * What initiating is compared with: a bare Fastify route that makes one commit and answers 202. Of one row; or, with
 * `COMMITS=order`, of all that Tukio commits then: order, payment and event, no limits and no token. With `ASKS`, a
 * Daraja's address, it also does what has to be done after the answer: asks for the money, and stores what is answered.
 */
import Fastify from "fastify";
import { openDatabase } from "../server/order/database.ts";
import type { PaymentDraft } from "../server/order/draft.ts";
import { createOrderStore } from "../server/order/store.ts";
import { createClient } from "../server/provider/client.ts";

const { PORT, DATABASE_URL = "", COMMITS, ASKS } = process.env;
const database = openDatabase(DATABASE_URL, () => undefined);
const { pool } = database;
await pool.query("create table if not exists bare (id bigint generated always as identity primary key, body jsonb)");
const store = createOrderStore({ database, announce: () => undefined, bareProviders: [] });
const client = createClient();

async function ask(paymentId: string): Promise<void> {
  const asked = { CallBackURL: `https://bench.example/${paymentId}`, AccountReference: paymentId };
  const url = `${ASKS}/mpesa/stkpush/v1/processrequest`;
  const { body } = await client.call({ method: "POST", url, headers: {}, body: asked });
  const { CheckoutRequestID: reference } = body as { CheckoutRequestID: string };
  await store.advance(paymentId, { status: "processing", reference, source: "reply" });
}

const app = Fastify();
app.get("/", async () => "ok");
app.post<{ Body: Omit<PaymentDraft, "amountMinor"> & { amountMinor: number } }>(
  "/v1/payments",
  async (request, reply) => {
    if (COMMITS === "order") {
      const { body } = request;
      const draft = { ...body, amountMinor: BigInt(body.amountMinor), live: true, deadlineS: 120 };
      const { event, payment } = await store.open(draft);
      reply.code(202).send(event);
      if (ASKS !== undefined && payment) void ask(payment.id);
      return reply;
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
void globalThis.gc?.();
