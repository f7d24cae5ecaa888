/** A shop that is paid with M-Pesa: it starts the payment, shows it live, and acts on Tukio's events. */
import { randomBytes, randomUUID } from "node:crypto";
import { TukioError, VerificationError, verifyEvent } from "@tukio/merchant";
import express from "express";
import { orderPage, shopPage } from "./page.js";
import { addOrder, findOrder, findProduct, listProducts, record } from "./store.js";
import { tukio } from "./tukio.js";

// Checked at the start, because a server without it would refuse each event.
const webhookSecret = process.env.TUKIO_WEBHOOK_SECRET ?? "";
if (!/^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(webhookSecret)) {
  console.error("Set TUKIO_WEBHOOK_SECRET to the secret of the endpoint: whsec_ and base64");
  process.exit(1);
}

const app = express();

app.get("/", (_request, response) => response.send(shopPage(listProducts())));

app.post("/orders", express.urlencoded({ extended: false }), async (request, response) => {
  const { product, phone } = request.body ?? {};
  // A repeated field is a list.
  if (typeof product !== "string" || typeof phone !== "string") return response.status(400).send("Bad request.");
  const found = findProduct(product);
  if (!found) return response.status(400).send("There is no such product.");
  if (found.stock === 0) return response.status(409).send("It is sold out.");
  // Random, because anyone who knows the address of an order's page may see it. 12 characters, because M-Pesa shows no more.
  const id = randomBytes(6).toString("hex").toUpperCase();
  // Stored first, because an event may arrive before the answer to the request.
  addOrder(id, product, phone);
  // The order's id as the key: a repeated request starts one payment.
  await startPayment(findOrder(id), id);
  return response.redirect(303, `/orders/${id}`);
});

app.use("/orders/:id", (request, response, next) => {
  response.locals.order = findOrder(request.params.id);
  return response.locals.order ? next() : response.status(404).send("There is no such order.");
});

app.get("/orders/:id", async (_request, response) => {
  const { order } = response.locals;
  response.send(orderPage(order, await newWatchToken(order)));
});

app.post("/orders/:id/watch-token", async (_request, response) => {
  response.type("text").send(await newWatchToken(response.locals.order));
});

app.post("/orders/:id/pay", async (_request, response) => {
  await startPayment(response.locals.order, randomUUID()).catch((error) => {
    // The page shows the payment that paid the order or is in progress.
    if (error.code !== "order_paid" && error.code !== "payment_in_progress") throw error;
  });
  response.status(204).end();
});

// The raw bytes, because the signature is over them.
app.post("/hooks/tukio", express.raw({ type: () => true, limit: "1mb" }), (request, response) => {
  const event = verifyEvent(request.body ?? "", request.headers, webhookSecret);
  if (event.type.startsWith("order.")) record(event.data.order);
  response.status(204).end();
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

function startPayment({ id, product, phone, price_minor }, idempotencyKey) {
  const payment = { orderId: id, amountMinor: price_minor, currency: "KES", provider: "daraja", phone };
  return tukio.payments.start({ ...payment, description: product }, { idempotencyKey });
}

async function newWatchToken({ id }) {
  const { watchToken } = await tukio.orders.issueWatchToken(id);
  return watchToken;
}

const port = process.env.PORT ?? 4000;
app.listen(port, () => console.log(`http://localhost:${port}`));
