/** Starts the payment, and sends the payer to bKash's page. */
import { randomBytes } from "node:crypto";
import { ensureBuyer } from "../../lib/buyer";
import { addOrder } from "../../lib/store";
import { tukio } from "../../lib/tukio";

const shopUrl = process.env.SHOP_URL ?? "http://localhost:4000";

export async function POST(request: Request): Promise<Response> {
  // Another site must not start payments in the buyer's name. Browsers set the header, and pages cannot.
  const site = request.headers.get("sec-fetch-site") ?? "same-origin";
  if (site !== "same-origin" && site !== "none") return new Response("Not from another site.", { status: 403 });
  const orderId = randomBytes(8).toString("hex").toUpperCase();
  // Stored first, because the event may arrive before the answer to the request.
  addOrder(orderId, await ensureBuyer());
  const waitingPage = `${shopUrl}/orders/${orderId}`;
  const { order } = await tukio().payments.start(
    {
      orderId,
      amountMinor: 150_000,
      currency: "BDT",
      provider: "bkash",
      description: "Bangla cooking",
      returnUrl: waitingPage,
    },
    { idempotencyKey: orderId, waitS: 15 },
  );
  const { action } = order.payment;
  // Without an action, bKash has not answered yet. The page that waits then shows the link.
  const location = action?.type === "redirect" ? action.url : waitingPage;
  return new Response(null, { status: 303, headers: { location } });
}
