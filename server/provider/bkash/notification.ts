/**
 * bKash's notifications of completed payments. Amazon SNS sends them to one URL for all payments.
 *
 * A notification only causes a query: it names a payment by our id, and none of its statements is used (G7). Anybody can
 * post to the URL. A message that SNS signed for the operator's topic does not count towards the limit of unauthenticated
 * webhooks. An unsigned notification is accepted within that limit, because bKash's own sample checks no signature.
 *
 * A subscription makes the node visit a URL once. The message must be signed, and the URL must be Amazon's and of the same
 * topic.
 *
 * Sources: developer.bka.sh, "Instant Payment Notification"; bKash-developer/webhook-endpoint-php; Amazon SNS Developer
 * Guide, "HTTP/HTTPS notification JSON format".
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Client } from "../http-client.ts";
import type { Authenticity, Claim, Webhook } from "../provider.ts";
import { readSnsUrl, type VerifySns } from "./sns.ts";

/** JSON, although SNS sends it as `text/plain`. */
const envelope = z.object({
  Type: z.string(),
  TopicArn: z.string(),
  Message: z.string(),
  SubscribeURL: z.string().optional(),
});

/** Notifications of the merchant's other channels arrive too. Their invoices are not ids of ours. */
const notification = z.object({ merchantInvoiceNumber: z.uuid().toLowerCase().optional().catch(undefined) });

/**
 * `signed` if SNS signed the message for the operator's topic. Without that topic every message is unsigned and no
 * certificate is fetched, because Amazon signs the messages of anybody's topic.
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
 * Throws `HubError` `webhook_unreadable` for a body that is not an SNS message with a JSON object in it.
 * Throws `webhook_rejected` for a subscription that is unsigned, to another topic or at another host, and for other types.
 * Throws `provider_unavailable` if the signature of a subscription cannot be checked now, because Amazon then sends it again.
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
 * Confirms a subscription by a GET of its URL, as Amazon SNS requires. Throws `HubError` `provider_unavailable` without an
 * answer within 5 s, and for a status from 300.
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

/** Undefined for text that is not JSON or is nested too deeply. */
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

/** Undefined unless a GET of the URL only confirms this topic. Other URLs of the same host end subscriptions. */
function readSubscribeUrl(text: string, topicArn: string): URL | undefined {
  const url = readSnsUrl(text);
  if (!url) return undefined;
  const hasOnly = (name: string, value: string): boolean =>
    url.searchParams.getAll(name).length === 1 && url.searchParams.get(name) === value;
  return hasOnly("Action", "ConfirmSubscription") && hasOnly("TopicArn", topicArn) ? url : undefined;
}
