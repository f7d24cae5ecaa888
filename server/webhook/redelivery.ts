/**
 * Retries proven webhooks that could not be applied when they came: their statement failed, their payment did not exist, or
 * their reference was not known. They are in the inbox, so none is lost. Applying one twice is harmless, because evidence
 * only raises a payment's status. Any number of nodes may retry at once; the inbox gives each webhook to one of them.
 */
import { startLoop } from "../loop.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider } from "../provider/provider.ts";
import { newTrace, withTrace } from "../trace.ts";
import type { Inbox, UnappliedWebhook } from "./inbox.ts";

export interface Redelivery {
  /**
   * Applies the parked webhooks that name this reference. Called after a reference was committed, and after a webhook was
   * parked: the second caller finds the other's row. Never rejects: a webhook that fails here is retried on the interval.
   */
  applyParked(provider: string, reference: string): Promise<void>;
  close(): Promise<void>;
}

export interface RedeliveryOptions {
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance" | "locate" | "checkNow">;
  inbox: Pick<Inbox, "claimUnapplied" | "claimParked" | "settle">;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const intervalMs = 5_000;
const batchMax = 50;

export function startRedelivery(options: RedeliveryOptions): Redelivery {
  const { inbox, log } = options;
  const loop = startLoop({
    task: async () => {
      for (const webhook of await inbox.claimUnapplied(batchMax)) {
        await withTrace(newTrace(), () => applySafely(webhook, options));
      }
    },
    delayMs: () => intervalMs,
    onError: (err) => log.warn({ event: "webhook.redelivery.read_failed", err }, "Could not read unapplied webhooks"),
    onRecovered: () => log.info({ event: "webhook.redelivery.read_recovered" }, "Read unapplied webhooks again"),
  });
  return {
    async applyParked(provider, reference) {
      try {
        for (const webhook of await inbox.claimParked(provider, reference)) await applySafely(webhook, options);
      } catch (err) {
        log.warn({ event: "webhook.parked.read_failed", provider, err }, "Could not read parked webhooks");
      }
    },
    close: loop.close,
  };
}

/** Never rejects. */
async function applySafely(webhook: UnappliedWebhook, options: RedeliveryOptions): Promise<void> {
  await apply(webhook, options).catch((err: unknown) =>
    options.log.warn(
      { event: "webhook.redelivery.failed", webhook: webhook.id, err },
      "Could not apply a stored webhook; will retry",
    ),
  );
}

async function apply(
  { id, provider: name, paymentId: addressedId, headers, body }: UnappliedWebhook,
  { providers, store, inbox, log }: RedeliveryOptions,
): Promise<void> {
  const claim = providers.get(name)?.translate({
    headers,
    body,
    ...(addressedId !== undefined && { paymentId: addressedId }),
  });
  if (!claim) return;
  const { reference, outcome, proof } = claim;
  const paymentId = claim.paymentId ?? (reference === undefined ? undefined : await store.locate(name, reference));
  if (paymentId === undefined) return;
  if (proof === "none") {
    // The proof was not stored, such as a header with a key. The webhook is still a reason to check.
    await store.checkNow(paymentId);
    return inbox.settle(id, "hint");
  }
  const { result } = outcome ? await store.advance(paymentId, outcome) : { result: "nothing" as const };
  if (result !== "unmatched") await inbox.settle(id, result);
  log.info({ event: "webhook.redelivery.done", provider: name, paymentId, result }, "Retried a stored webhook");
}
