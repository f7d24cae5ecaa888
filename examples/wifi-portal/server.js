/** Sells WiFi vouchers. When an order is paid, it creates the voucher's account for FreeRADIUS, and shows the code on the page that waits. */
import { randomBytes } from "node:crypto";
import { TukioError, VerificationError, verifyEvent } from "@tukio/merchant";
import express from "express";
import { startEffects } from "./effects.js";
import { orderPage, portalPage } from "./page.js";
import { addOrder, findOrder, findPlan, fulfil, listPlans } from "./store.js";
import { tukio } from "./tukio.js";

const runEffects = startEffects({
  result: ({ id, plan, code, expires_at }) =>
    tukio.orders.putResult(
      id,
      { id: "voucher", kind: "voucher", title: `WiFi for one ${plan}`, code, expiresAt: expires_at.toISOString() },
      // The effect is locked meanwhile, with a connection of the pool. A failed call is repeated later.
      { signal: AbortSignal.timeout(10_000) },
    ),
});

// Checked at the start, because a server without it would refuse each event.
const webhookSecret = process.env.TUKIO_WEBHOOK_SECRET ?? "";
if (!/^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(webhookSecret)) {
  console.error("Set TUKIO_WEBHOOK_SECRET to the secret of the endpoint: whsec_ and base64");
  process.exit(1);
}

const app = express();

app.get("/", async (_request, response) => response.send(portalPage(await listPlans())));

app.post("/orders", express.urlencoded({ extended: false }), async (request, response) => {
  const { plan: name, phone } = request.body ?? {};
  // A repeated field is a list.
  if (typeof name !== "string" || typeof phone !== "string") return response.status(400).send("Bad request.");
  const plan = await findPlan(name);
  if (!plan) return response.status(400).send("There is no such plan.");
  // Random, because anyone who knows the address of an order's page may see its voucher. 12 characters, because M-Pesa shows no more.
  const id = randomBytes(6).toString("hex").toUpperCase();
  // Stored first, because the event may arrive before the answer to the request.
  await addOrder({ id, plan: name, phone: customerOf(phone) });
  await tukio.payments.start(
    {
      orderId: id,
      amountMinor: plan.price_minor,
      currency: "KES",
      provider: "daraja",
      phone,
      description: `WiFi, one ${name}`,
    },
    { idempotencyKey: id },
  );
  return response.redirect(303, `/orders/${id}`);
});

/** One form of a number, so that a customer who types it in another way remains the same. */
const customerOf = (phone) => `0${phone.replace(/\D/g, "").slice(-9)}`;

app.get("/orders/:id", async (request, response) => {
  const order = await findOrder(request.params.id);
  if (!order) return response.status(404).send("There is no such order.");
  const { watchToken } = await tukio.orders.issueWatchToken(order.id);
  return response.send(orderPage(order, watchToken));
});

app.post("/hooks/tukio", express.raw({ type: () => true, limit: "1mb" }), async (request, response) => {
  const event = verifyEvent(request.body ?? "", request.headers, webhookSecret);
  if (event.type === "order.succeeded") await fulfil(event.data.order);
  // After the commit, and without waiting for the effects.
  response.status(204).end();
  runEffects();
});

app.use((error, _request, response, _next) => {
  if (error instanceof VerificationError) return response.status(401).end();
  // A field that the payer can correct, such as the phone.
  if (error instanceof TukioError && error.field) return response.status(400).send(error.message);
  // The request is malformed, or too large. A TukioError has the status of Tukio's answer.
  const isRefused = !(error instanceof TukioError) && error.status >= 400 && error.status < 500;
  if (isRefused) return response.status(error.status).send("Bad request.");
  console.error(error);
  return response.status(502).send("Please try again in a moment.");
});

const port = process.env.PORT ?? 4000;
app.listen(port, () => console.log(`http://localhost:${port}`));
