/** Receives Tukio's events. */
import { VerificationError, verifyEvent } from "@tukio/merchant";
import { markPaid } from "../../../lib/store";

export async function POST(request: Request): Promise<Response> {
  // The text as it arrived, because the signature is over it.
  const body = await request.text();
  try {
    const event = verifyEvent(body, request.headers, process.env.TUKIO_WEBHOOK_SECRET ?? "");
    if (event.type === "order.succeeded") markPaid(event.data.order.orderId, event.data.order.occurredAt);
    return new Response(null, { status: 204 });
  } catch (error) {
    if (error instanceof VerificationError) return new Response(null, { status: 401 });
    throw error;
  }
}
