/** Events as Tukio posts them, made by a test. */
import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { type Answer, asMerchant, type Body, type TestNode } from "./node.ts";

export interface EventOptions {
  type: string;
  order: object;
  /** Empty: signs with the empty key, which anybody can. */
  secret: string;
  /** When it was sent; by default now. */
  at?: Date;
  /** Changes the body after it was signed. */
  change?: (body: string) => string;
}

/** Posts an event to an example. Returns the status of the answer. */
export async function postEvent(url: string, options: EventOptions): Promise<number> {
  const { type, order, secret, at = new Date(), change = (body) => body } = options;
  const body = JSON.stringify({ type, timestamp: at.toISOString(), data: { order } });
  const id = `${crypto.randomUUID()}.0.1`;
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
    "webhook-signature": secret ? new Webhook(secret).sign(id, at, body) : signEmpty(id, at, body),
  };
  const response = await fetch(`${url}/hooks/tukio`, { method: "POST", headers, body: change(body) });
  await response.arrayBuffer();
  return response.status;
}

/** Signs with the empty key, which the library refuses. */
export function signEmpty(id: string, at: Date, body: string): string {
  const content = `${id}.${Math.floor(at.getTime() / 1_000)}.${body}`;
  return `v1,${createHmac("sha256", "").update(content).digest("base64")}`;
}

/** Every fault of a message, each with the correct secret unless that is the fault. */
export const faultyEvents = (event: Pick<EventOptions, "type" | "order" | "secret">): EventOptions[] => [
  { ...event, secret: `whsec_${Buffer.alloc(32).toString("base64")}` },
  { ...event, secret: "" },
  { ...event, change: (body) => body.replace("order.", "order,") },
  { ...event, at: new Date(Date.now() - 360_000) },
  { ...event, at: new Date(Date.now() + 360_000) },
];

/** The order as its messages have it. */
export async function orderInEvents(node: TestNode, orderId: string): Promise<Body["order"]> {
  const { order, items, customer } = (await readOrder(node, orderId)).body;
  return { ...order, ...(items && { items }), ...(customer && { customer }) };
}

export const readOrder = (node: TestNode, orderId: string): Promise<Answer> =>
  asMerchant(node, `/v1/orders/${orderId}`);
