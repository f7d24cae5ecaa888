/**
 * Tries proven webhooks again that could not be applied when they came: their statement failed, or their payment was not
 * there. They are in the inbox, so nothing is lost; applying one twice is harmless, for a payment only climbs.
 */
import { type Loop, startLoop } from "../loop.ts";
import type { Inbox, UnappliedWebhook } from "../order/inbox.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider } from "./provider.ts";

export interface RedeliveryOptions {
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance">;
  inbox: Pick<Inbox, "claimUnapplied" | "settle">;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const intervalMs = 5_000;
const batchMax = 50;

export function startRedelivery({ providers, store, inbox, log }: RedeliveryOptions): Pick<Loop, "close"> {
  const offer = async ({ id, provider: name, paymentId, headers, body }: UnappliedWebhook): Promise<void> => {
    const claim = providers.get(name)?.translate({ headers, body, ...(paymentId !== undefined && { paymentId }) });
    if (claim?.paymentId === undefined) return;
    const { result } = claim.outcome
      ? await store.advance(claim.paymentId, claim.outcome)
      : { result: "nothing" as const };
    if (result !== "unmatched") await inbox.settle(id, result);
    log.info({ provider: name, paymentId, result }, "webhook offered again");
  };

  const loop = startLoop({
    task: async () => {
      for (const webhook of await inbox.claimUnapplied(batchMax)) {
        await offer(webhook).catch((error: unknown) =>
          log.warn({ webhook: webhook.id, err: error }, "still not applied"),
        );
      }
    },
    delayMs: () => intervalMs,
    onError: (error) => log.warn({ err: error }, "unapplied webhooks could not be read"),
  });
  return { close: loop.close };
}
