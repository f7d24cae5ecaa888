/**
 * Applies an unmatched webhook to the payment to which a person says that it belongs.
 *
 * The person is the proof that webhook and payment belong together, and of nothing else: the webhook's own proof decides whether its
 * statements count. A proven one takes the path of every webhook: the payment's amount, currency and reference are compared, and a receipt of
 * another payment leads to a review. An unproven one stays a hint and makes the node ask the provider (G7), because everybody can send one to
 * the account-wide address, and could otherwise make a person pay for them.
 *
 * The webhook's row is locked while its evidence is decided, so that of two persons one assigns it, on any nodes. A node that dies in
 * between leaves it unmatched; to assign it again then changes nothing twice, because evidence only raises a payment's status (G6).
 */
import { asHubError, type Database } from "../database/pool.ts";
import { fieldError, HubError } from "../errors.ts";
import type { AskedPayment, OrderStore } from "../order/store.ts";
import type { Claim, Provider } from "../provider/provider.ts";
import { translate } from "./incoming.ts";

export interface Assigned {
  orderUuid: string;
  result: "applied" | "repeat" | "hint" | "nothing";
}

/**
 * Throws `webhook_unknown`, `webhook_settled` for one that is not unmatched or is erased, `payment_unknown`, `provider_unknown` for a
 * provider that this node has not enabled, and `body_invalid` for a payment with another provider.
 */
export type Assign = (webhookId: number, paymentId: string) => Promise<Assigned>;

export interface AssignOptions {
  pool: Database["pool"];
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance" | "checkNow" | "findAsked">;
  /** Applies the parked webhooks that name a reference which was just stored. */
  onReference: (provider: string, reference: string) => Promise<void>;
}

interface UnmatchedRow {
  provider: string;
  payment_id: string | null;
  result: string;
  headers: Record<string, string>;
  body: Buffer;
}

const lockStatement = {
  name: "lock-webhook",
  text: "select provider, payment_id, result, headers, body from webhook where id = $1 for update",
} as const;

export const assignStatement = {
  name: "assign-webhook",
  text: "update webhook set result = $2, payment_id = $3, offer_at = null where id = $1",
} as const;

export function createAssign(options: AssignOptions): Assign {
  // One at a time on this node, because each holds a connection while it needs another one.
  let last: Promise<unknown> = Promise.resolve();
  return (webhookId, paymentId) => {
    const assigned = last.then(() => assign(options, webhookId, paymentId));
    last = assigned.catch(() => undefined);
    return assigned;
  };
}

async function assign(options: AssignOptions, webhookId: number, paymentId: string): Promise<Assigned> {
  const payment = await options.store.findAsked(paymentId);
  if (!payment) throw new HubError("payment_unknown", "There is no such payment");
  const client = await options.pool.connect().catch((error: unknown) => {
    throw asHubError(error);
  });
  let found: { result: Assigned["result"]; claim: Claim | undefined };
  try {
    await client.query("begin");
    const { rows } = await client.query<UnmatchedRow>({ ...lockStatement, values: [webhookId] });
    const [row] = rows;
    if (!row) throw new HubError("webhook_unknown");
    requireAssignable(row, payment);
    found = await apply(options, row, payment);
    await client.query({ ...assignStatement, values: [webhookId, found.result, paymentId] });
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw asHubError(error);
  } finally {
    client.release();
  }
  const { result, claim } = found;
  if (result === "applied" && claim?.reference !== undefined)
    await options.onReference(payment.provider, claim.reference);
  return { orderUuid: payment.orderUuid, result };
}

function requireAssignable({ result, provider, body }: UnmatchedRow, payment: AskedPayment): void {
  if (result !== "unmatched")
    throw new HubError("webhook_settled", `The webhook is not unmatched: its result is ${result}`);
  if (provider !== payment.provider) {
    throw fieldError("body_invalid", "paymentId", `must be a payment with ${provider}, which sent the webhook`);
  }
  if (body.length === 0) throw new HubError("webhook_settled", "The webhook's content is erased");
}

/** Decides on the webhook's evidence, outside the transaction that locks its row. */
async function apply(
  { providers, store }: AssignOptions,
  { provider: name, payment_id, headers, body }: UnmatchedRow,
  { id }: AskedPayment,
): Promise<{ result: Assigned["result"]; claim: Claim | undefined }> {
  const provider = providers.get(name);
  if (!provider) throw new HubError("provider_unknown", `The provider ${name} is not enabled on this node`);
  const translation = await translate(provider, {
    headers,
    body,
    ...(payment_id !== null && { paymentId: payment_id }),
  });
  const claim = translation instanceof HubError ? undefined : translation;
  if (!claim || claim.proof === "none" || claim.isHint) {
    await store.checkNow(id);
    return { result: "hint", claim };
  }
  if (!claim.outcome) return { result: "nothing", claim };
  const { result } = await store.advance(id, claim.outcome);
  return { result: result === "unmatched" ? "nothing" : result, claim };
}
