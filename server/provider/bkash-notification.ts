/**
 * bKash's notifications of completed payments, which come through Amazon SNS to one address for all payments.
 *
 * They are hints: they name a payment by our own id, and we ask bKash about it. So nothing hangs on their signature, and
 * nothing that they state is believed. The one thing that they can make us do besides is to visit an address once, so
 * that one is Amazon's, and confirms the topic that the operator named.
 *
 * Facts: developer.bka.sh, "Instant Payment Notification"; bKash-developer/webhook-endpoint-php; Amazon SNS, "HTTP/HTTPS
 * notification JSON format".
 */
import { z } from "zod";
import { HubError } from "../errors.ts";
import type { Claim, Webhook } from "./provider.ts";

/** JSON, although it is sent as `text/plain`. */
const envelope = z.object({
  Type: z.string(),
  TopicArn: z.string(),
  Message: z.string(),
  SubscribeURL: z.string().optional(),
});

/** The payments of the merchant's other channels are told too; their invoices are none of ours. */
const notification = z.object({ merchantInvoiceNumber: z.uuid().toLowerCase().optional().catch(undefined) });

/**
 * Throws `HubError`: `webhook_unreadable` for anything but an SNS message, or one without a payment in it;
 * `webhook_rejected` for a subscription to another topic or at another host, and for other types of message.
 */
export function translate({ body }: Webhook, topicArn: string | undefined): Claim {
  const message = read(body.toString(), envelope);
  if (message.Type === "Notification") {
    const { merchantInvoiceNumber: paymentId } = read(message.Message, notification);
    return { proof: "none", ...(paymentId !== undefined && { paymentId }) };
  }
  const { Type, TopicArn, SubscribeURL = "" } = message;
  const isOurs = Type === "SubscriptionConfirmation" && topicArn !== undefined && TopicArn === topicArn;
  const subscribeUrl = isOurs ? readSubscribeUrl(SubscribeURL, topicArn) : undefined;
  if (!subscribeUrl) throw new HubError("webhook_rejected");
  return { proof: "none", subscribeUrl };
}

function read<T extends z.ZodType>(text: string, shape: T): z.infer<T> {
  try {
    return shape.parse(JSON.parse(text));
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

/** Anchored: `sns.evil.example.amazonaws.com.evil.example` is not Amazon's. As in bKash's sample code. */
const snsHost = /^sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(\.cn)?$/;

/** Undefined unless visiting it does nothing but confirm this topic: the same host also ends subscriptions. */
function readSubscribeUrl(text: string, topicArn: string): URL | undefined {
  const url = URL.parse(text);
  if (url?.protocol !== "https:" || !snsHost.test(url.hostname)) return undefined;
  if (url.port !== "" || url.username !== "" || url.password !== "") return undefined;
  const says = (name: string, value: string): boolean =>
    url.searchParams.getAll(name).length === 1 && url.searchParams.get(name) === value;
  return says("Action", "ConfirmSubscription") && says("TopicArn", topicArn) ? url : undefined;
}
