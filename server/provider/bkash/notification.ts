/**
 * bKash's notifications of completed payments, which come through Amazon SNS to one address for all payments.
 *
 * They are hints: they name a payment by our own id, and we ask bKash about it. Nothing that they state is believed. A
 * signature of the operator's topic keeps them apart from what anybody can post: signed ones are not counted among those of
 * strangers. Unsigned ones are still taken, within the strangers' budget, as bKash's own sample does not check any.
 * A subscription makes us visit an address once. It has to be signed, and the address Amazon's, for that same topic.
 *
 * Facts: developer.bka.sh, "Instant Payment Notification"; bKash-developer/webhook-endpoint-php; Amazon SNS, "HTTP/HTTPS
 * notification JSON format".
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Client } from "../http-client.ts";
import type { Authenticity, Claim, Webhook } from "../provider.ts";
import { readSnsUrl, type VerifySns } from "./sns.ts";

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
 * `signed`: SNS signed it for the operator's topic. Without that topic nothing is, and nothing is fetched, for anybody may
 * have messages of a topic of their own signed by Amazon.
 */
export async function authenticate(
  { body }: Webhook,
  topicArn: string | undefined,
  verify: VerifySns,
): Promise<Authenticity> {
  if (topicArn === undefined) return "unsigned";
  const message = parse(body.toString());
  const isOurs = envelope.safeParse(message).data?.TopicArn === topicArn;
  return isOurs ? verify(message) : "unsigned";
}

/**
 * Throws `HubError`: `webhook_unreadable` for anything but an SNS message, or one without a payment in it;
 * `webhook_rejected` for a subscription that is unsigned, to another topic or at another host, and for other types of
 * message; `provider_unavailable` for a subscription whose signature cannot be checked now, because Amazon sends it again.
 */
export function translate({ body }: Webhook, topicArn: string | undefined, authenticity: Authenticity): Claim {
  const message = read(body.toString(), envelope);
  const isSigned = authenticity === "signed";
  if (message.Type === "Notification") {
    const { merchantInvoiceNumber: paymentId } = read(message.Message, notification);
    const about = paymentId !== undefined && { paymentId };
    return isSigned ? { proof: "signature", isHint: true, ...about } : { proof: "none", ...about };
  }
  const { Type, TopicArn, SubscribeURL = "" } = message;
  const isOurs = Type === "SubscriptionConfirmation" && topicArn !== undefined && TopicArn === topicArn;
  const subscribeUrl = isOurs ? readSubscribeUrl(SubscribeURL, topicArn) : undefined;
  if (!subscribeUrl || authenticity === "unsigned") throw new HubError("webhook_rejected");
  if (!isSigned) throw new HubError("provider_unavailable", "The subscription's signature cannot be checked");
  return { proof: "signature", subscribeUrl };
}

const confirmationDeadlineMs = 5_000;

/**
 * Confirms a subscription by visiting its address, as Amazon SNS asks for. Throws `HubError` `provider_unavailable` for no
 * answer within 5 s and for any status from 300 up.
 */
export async function confirmSubscription(client: Client, url: URL): Promise<void> {
  const call = client.call({ method: "GET", url: url.href, headers: {}, deadlineMs: confirmationDeadlineMs });
  const { status } = await call.catch((cause: unknown) => {
    throw new HubError("provider_unavailable", "The subscription could not be confirmed", { cause });
  });
  if (status >= 300) {
    throw new HubError("provider_unavailable", `The subscription was not confirmed (HTTP ${status})`);
  }
}

/** Undefined for what is not JSON, and for what is nested too deep. */
function parse(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

function read<T extends z.ZodType>(text: string, shape: T): z.infer<T> {
  try {
    return shape.parse(parseJson(text));
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

/** Undefined unless visiting it does nothing but confirm this topic: the same host also ends subscriptions. */
function readSubscribeUrl(text: string, topicArn: string): URL | undefined {
  const url = readSnsUrl(text);
  if (!url) return undefined;
  const says = (name: string, value: string): boolean =>
    url.searchParams.getAll(name).length === 1 && url.searchParams.get(name) === value;
  return says("Action", "ConfirmSubscription") && says("TopicArn", topicArn) ? url : undefined;
}
