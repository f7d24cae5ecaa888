/** What the values of labels mean, for the HELP texts of `/metrics`: the compiler asks for a line with every new value. */
import type { Reason, Status } from "../../client-sdk/protocol.ts";
import type { CutReason } from "../http/connection-guard.ts";
import type { ResolvedReview } from "../order/review.ts";
import type { CallOutcome, Verb } from "../provider/call-stats.ts";
import type { HandledWebhook } from "../route/webhooks.ts";
import type { TransportName } from "../status/hub.ts";
import type { InvariantName } from "../status/invariants.ts";

/** By label. Of `reason` and `status` only what metrics tell of: facts that disagree, and what is settled. */
export const meanings = {
  verb: {
    initiate: "asks for the money",
    complete: "takes the money that was approved on the provider's page",
    confirm: "asks what became of it",
    token: "fetches an access token",
  } satisfies Record<Verb, string>,
  outcome: {
    answered: "as hoped",
    declined: "the provider will not ask this payer",
    nothing: "an answer that teaches nothing",
    failed: "no answer, or none that can be used",
  } satisfies Record<CallOutcome, string>,
  proof: {
    signature: "signed by the provider",
    secret: "sent to the payment's own URL",
    none: "neither",
  } satisfies Record<HandledWebhook["proof"], string>,
  result: {
    applied: "changed what is known of the order",
    repeat: "nothing new",
    hint: "no proof, so the provider is asked",
    unmatched: "no such payment known yet",
    nothing: "tells no outcome",
    error: "kept, offered again later",
    unreadable: "kept, answered 400",
    spooled: "on disk beside the database, which is away",
    refused: "wrong secret or signature, answered 401",
    failed: "not kept, so not acknowledged",
  } satisfies Record<HandledWebhook["result"], string>,
  reason: {
    amount_mismatch: "another amount was paid, or one that cannot be read",
    currency_mismatch: "another currency was paid, or one that cannot be read",
    receipt_reused: "the receipt belongs to another payment",
  } satisfies Partial<Record<Reason, string>>,
  status: {
    succeeded: "paid",
    failed: "not paid, by the provider's word",
    expired: "not paid in time",
    review: "a person decides",
  } satisfies Record<Exclude<Status, "pending" | "processing">, string>,
  as: {
    succeeded: "the money is there",
    failed: "it is not; another try is allowed",
  } satisfies Record<ResolvedReview["as"], string>,
  invariant: {
    version_lowered: "a watcher was about to get an older state after a newer one",
    version_skipped: "the history has a gap",
    success_taken_back: "a paid order is not paid any more",
    check_missing: "a payment is open past twice its deadline, and nobody will ask about it",
  } satisfies Record<InvariantName, string>,
  why: {
    address: "too many of one address",
    unanswered: "too many requests at once",
    flood: "more frames or bytes than such a client may send, or a body in too many pieces",
    queued: "too much waited for its reader",
    unread: "its reader took nothing for too long",
  } satisfies Record<CutReason, string>,
  transport: {
    socketio: "Socket.IO",
    websocket: "raw WebSocket",
    eventsource: "server-sent events",
    longpoll: "long poll",
  } satisfies Record<TransportName, string>,
};

/** A HELP text that ends with the values of these labels. */
export function help(text: string, ...labels: (keyof typeof meanings)[]): string {
  const told = labels.map((label) => {
    const values = Object.entries(meanings[label]).map(([value, meaning]) => `${value} (${meaning})`);
    return `${label}: ${values.join(", ")}.`;
  });
  return [text, ...told].join(" ");
}
