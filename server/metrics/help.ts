/** The meanings of label values, for the HELP texts of `/metrics`. A new value does not compile without a meaning. */
import type { Reason, Status } from "../../client-sdk/protocol.ts";
import type { SecretPurpose } from "../auth/keys.ts";
import type { DeliveryResult } from "../delivery/engine.ts";
import type { CutReason } from "../http/connection-guard.ts";
import type { ResolvedReview } from "../order/review.ts";
import type { CallOutcome, Verb } from "../provider/call-stats.ts";
import type { HandledWebhook } from "../route/webhooks.ts";
import type { TransportName } from "../status/hub.ts";
import type { InvariantName } from "../status/invariants.ts";

/** By label. `reason` and `status` have only the values that a metric has: mismatches and settled statuses. */
export const meanings = {
  verb: {
    initiate: "requests the money",
    complete: "takes the money that was approved on the provider's page",
    confirm: "queries the payment",
    token: "fetches an access token",
  } satisfies Record<Verb, string>,
  outcome: {
    answered: "a usable answer",
    declined: "the provider refused the request for this payer",
    nothing: "an answer without new information",
    failed: "no answer, or an unusable one",
  } satisfies Record<CallOutcome, string>,
  proof: {
    signature: "signed by the provider",
    secret: "sent to the payment's own URL",
    none: "neither",
  } satisfies Record<HandledWebhook["proof"], string>,
  result: {
    applied: "changed the order",
    repeat: "no new information",
    hint: "not enough evidence; the provider is queried if the payment may still be paid",
    unmatched: "the payment is not known yet",
    nothing: "no outcome",
    error: "stored, applied later",
    unreadable: "stored, answered 400",
    spooled: "in the spool, because PostgreSQL is unreachable",
    refused: "wrong secret or signature, answered 401",
    failed: "not stored, so not acknowledged",
  } satisfies Record<HandledWebhook["result"], string>,
  reason: {
    amount_mismatch: "another amount was paid, or one that cannot be read",
    currency_mismatch: "another currency was paid, or one that cannot be read",
    receipt_reused: "the receipt belongs to another payment",
  } satisfies Partial<Record<Reason, string>>,
  status: {
    succeeded: "paid",
    failed: "not paid, according to the provider",
    expired: "not paid in time",
    review: "a person decides",
  } satisfies Record<Exclude<Status, "pending" | "processing">, string>,
  delivery: {
    delivered: "answered 2xx, or taken by the mail server or the SMS gateway",
    failed: "another answer or none; a later attempt follows",
    exhausted: "the last attempt failed, or one that is not repeated",
  } satisfies Record<DeliveryResult, string>,
  as: {
    succeeded: "the money is there",
    failed: "the money is not there; another attempt is allowed",
  } satisfies Record<ResolvedReview["as"], string>,
  invariant: {
    version_lowered: "a watcher was given an older state after a newer one",
    version_skipped: "the history has a gap",
    success_taken_back: "a paid order is not paid now",
    check_missing: "a payment is open past twice its time to the deadline, and no check is due",
  } satisfies Record<InvariantName, string>,
  why: {
    address: "too many from one address",
    unanswered: "too many requests at once",
    flood: "more frames or bytes than such a client may send, or a body in too many pieces",
    queued: "too many bytes waited for the client",
    unread: "the client read nothing for too long",
  } satisfies Record<CutReason, string>,
  purpose: {
    webhook: "the URL of a webhook",
    return: "the URL of a payer's return",
    watch: "a watch token",
    token: "a provider's access token in the database",
  } satisfies Record<SecretPurpose, string>,
  transport: {
    socketio: "Socket.IO",
    websocket: "raw WebSocket",
    eventsource: "server-sent events",
    longpoll: "long poll",
  } satisfies Record<TransportName, string>,
};

/** A HELP text that ends with the values of these labels and their meanings. */
export function help(text: string, ...labels: (keyof typeof meanings)[]): string {
  const explained = labels.map((label) => {
    const values = Object.entries(meanings[label]).map(([value, meaning]) => `${value} (${meaning})`);
    return `${label}: ${values.join(", ")}.`;
  });
  return [text, ...explained].join(" ");
}
