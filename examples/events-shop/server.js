/** Sells tickets. When an order is paid, it creates the tickets, shows them on the page that waits, and mails them. */
import { randomBytes } from "node:crypto";
import { TukioError, VerificationError, verifyEvent } from "@tukio/merchant";
import express from "express";
import { startEffects } from "./effects.js";
import { sendTickets, sendWelcome } from "./mail.js";
import { gatePage, orderPage, shopPage, ticketsPage } from "./page.js";
import {
  addOrder,
  findOrder,
  findPage,
  findShow,
  findTicket,
  fulfil,
  listShows,
  listTickets,
  redeem,
} from "./store.js";
import { tukio } from "./tukio.js";

const port = process.env.PORT ?? 4000;
const shopUrl = process.env.SHOP_URL ?? `http://localhost:${port}`;
const ticketsUrl = ({ page }) => `${shopUrl}/tickets/${page}`;

/** The largest order. Because an order has at most 20 results, and each ticket is one. */
const unitsMax = 10;

const runEffects = startEffects({
  result: postResults,
  "ticket-mail": (order, tickets) => sendTickets(order, tickets, ticketsUrl(order)),
  "welcome-mail": sendWelcome,
});

/** A result for each ticket, with its own id: posting it again changes nothing. */
async function postResults(order, tickets) {
  for (const { number, show_name, code } of tickets) {
    const title = `${show_name}, ${number} of ${tickets.length}`;
    await tukio.orders.putResult(order.id, {
      id: `ticket-${number}`,
      kind: "ticket",
      title,
      code,
      url: ticketsUrl(order),
    });
  }
}

// Checked at the start, because a server without it would refuse each event.
const webhookSecret = process.env.TUKIO_WEBHOOK_SECRET ?? "";
if (!/^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(webhookSecret)) {
  console.error("Set TUKIO_WEBHOOK_SECRET to the secret of the endpoint: whsec_ and base64");
  process.exit(1);
}

const app = express();
const form = express.urlencoded({ extended: false });

app.get("/", (_request, response) => response.send(shopPage(listShows())));

app.post("/orders", form, async (request, response) => {
  const { email, phone, ...quantities } = request.body ?? {};
  // A repeated field is a list.
  if (typeof email !== "string" || typeof phone !== "string") return response.status(400).send("Bad request.");
  const items = Object.entries(quantities).flatMap(([sku, quantity]) => {
    const show = findShow(sku);
    const isWanted = show && /^[1-9]\d?$/.test(quantity);
    return isWanted ? [{ sku, name: show.name, quantity: Number(quantity), unitAmountMinor: show.price_minor }] : [];
  });
  const units = items.reduce((sum, { quantity }) => sum + quantity, 0);
  if (units < 1 || units > unitsMax) return response.status(400).send(`Please order 1 to ${unitsMax} tickets.`);
  // Random, because anyone who knows the address of an order's page may see its tickets. 12 characters, because M-Pesa shows no more.
  const orderId = randomBytes(6).toString("hex").toUpperCase();
  const amountMinor = items.reduce((sum, { quantity, unitAmountMinor }) => sum + quantity * unitAmountMinor, 0);
  // Stored first, because the event may arrive before the answer to the request.
  addOrder(orderId, email.toLowerCase());
  await tukio.payments.start(
    { orderId, amountMinor, currency: "KES", provider: "daraja", phone, items, customer: { email } },
    { idempotencyKey: orderId },
  );
  return response.redirect(303, `/orders/${orderId}`);
});

app.get("/orders/:id", async (request, response) => {
  const { id } = request.params;
  if (!findOrder(id)) return response.status(404).send("There is no such order.");
  const { watchToken } = await tukio.orders.issueWatchToken(id);
  return response.send(orderPage(id, watchToken));
});

app.get("/tickets/:page", async (request, response) => {
  const order = findPage(request.params.page);
  if (!order) return response.status(404).send("There are no such tickets.");
  return response.send(await ticketsPage(listTickets(order.id)));
});

// Put the gate behind your staff's sign-in.
app.get("/gate", (_request, response) => response.send(gatePage()));

app.post("/gate", form, (request, response) => {
  const code = String(request.body?.code).trim().toUpperCase();
  const isValid = redeem(code);
  const ticket = findTicket(code);
  if (!ticket) return response.status(404).send(gatePage("Unknown code"));
  if (!isValid) return response.status(409).send(gatePage(`Used already, at ${ticket.redeemed_at}`));
  return response.send(gatePage(`Welcome to ${ticket.show_name}`));
});

app.post("/hooks/tukio", express.raw({ type: () => true, limit: "1mb" }), (request, response) => {
  const event = verifyEvent(request.body ?? "", request.headers, webhookSecret);
  if (event.type === "order.succeeded") fulfil(event.data.order);
  // After the commit, and before the effects, because a slow mail server must not delay the answer.
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

app.listen(port, () => console.log(shopUrl));
