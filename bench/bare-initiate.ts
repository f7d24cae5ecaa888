/**
 * A bare Fastify route with one commit and a 202, which Tukio's initiate is compared with. `WORK` sets the work before the
 * answer: `row` commits one row; `order` commits Tukio's order, payment and event, without limits or a token; `all` uses
 * Tukio's functions to check API key, body, phone number and limits and to issue a token. With `PROVIDER_URL`, the route also
 * sends the push after the answer and stores the reply.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import Fastify, { type FastifyRequest } from "fastify";
import { createAccess } from "../server/auth/access.ts";
import { createWatchTokens } from "../server/auth/watch-token.ts";
import { openDatabase } from "../server/database/pool.ts";
import { createKeyRing } from "../server/key/ring.ts";
import type { PaymentDraft } from "../server/order/draft.ts";
import { createOrderStore } from "../server/order/store.ts";
import { createStartPayment } from "../server/payment/start.ts";
import { createClient } from "../server/provider/http-client.ts";
import { mpesaLimits } from "../server/provider/mpesa.ts";
import type { Provider } from "../server/provider/provider.ts";
import { createMemoryCounter } from "../server/rate-limit.ts";

const { PORT, DATABASE_URL = "", WORK = "row", PROVIDER_URL, TUKIO_API_KEY = "" } = process.env;
const database = openDatabase(DATABASE_URL, () => undefined);
const { pool } = database;
await pool.query("create table if not exists bare (id bigint generated always as identity primary key, body jsonb)");
const limits = { phone: 1_000_000, order: 1_000_000 };
const store = createOrderStore({
  database,
  announce: () => undefined,
  amountlessProviders: [],
  ...(WORK === "all" && { limits }),
});
const client = createClient();

async function ask(paymentId: string): Promise<void> {
  // As in Tukio, the answer to the merchant goes first.
  await nextTick();
  const push = { CallBackURL: `https://bench.example/${paymentId}`, AccountReference: paymentId };
  const url = `${PROVIDER_URL}/mpesa/stkpush/v1/processrequest`;
  const { body } = await client.call({ method: "POST", url, headers: {}, body: push });
  const { CheckoutRequestID: reference } = body as { CheckoutRequestID: string };
  await store.advance(paymentId, { status: "processing", reference, source: "reply" });
}

const start = async ({ id }: { id: string }): Promise<void> => (PROVIDER_URL === undefined ? undefined : ask(id));
const terms = () => ({ live: true, isSandbox: false, deadlineS: 120, firstCheckS: 30 });

type Body = Omit<PaymentDraft, "amountMinor"> & { amountMinor: number };

async function commitRow(body: Body): Promise<unknown> {
  const values = [JSON.stringify(body)];
  const text = "insert into bare (body) values ($1) returning id, body";
  return (await pool.query({ name: "one", text, values })).rows[0];
}

async function commitOrder(body: Body): Promise<unknown> {
  const { event, payment } = await store.open({ ...body, amountMinor: BigInt(body.amountMinor), ...terms() });
  if (payment) void start(payment);
  return event;
}

const tokens = createWatchTokens(["a secret that only the bench has and that is long enough"], 3_600);
const ring = createKeyRing({
  apiKeys: [TUKIO_API_KEY],
  database,
  onError: () => undefined,
  onRecovered: () => undefined,
});
const access = createAccess({
  ring,
  tokens,
  query: { idOf: async () => undefined },
  cookie: {},
  counter: createMemoryCounter(),
});
/** The fields of a provider that `createStartPayment` reads. */
const daraja = { name: "daraja", currencies: ["KES"], countries: ["KE"], limits: mpesaLimits } as const;
const providers = new Map([["daraja", daraja as Partial<Provider> as Provider]]);
const startPayment = createStartPayment({ providers, terms, store, initiator: { start } });

async function answerFully(body: Body, request: FastifyRequest): Promise<unknown> {
  access.requireKey(request, "pay");
  const { event } = await startPayment(body);
  return { order: event, ...tokens.issue(event) };
}

const work = { row: commitRow, order: commitOrder, all: answerFully }[WORK];
if (!work) throw new Error(`WORK=${WORK}`);

const app = Fastify();
app.get("/", async () => "ok");
app.post<{ Body: Body }>("/v1/payments", async (request, reply) => {
  return reply.code(202).send(await work(request.body, request));
});
await app.listen({ port: Number(PORT), host: "127.0.0.1" });
void globalThis.gc?.();
