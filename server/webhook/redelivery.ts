/**
 * Tries proven webhooks again that could not be applied when they came: their statement failed, their payment was not
 * there, or its reference was not known yet. They are in the inbox, so nothing is lost; applying one twice is harmless,
 * for a payment only climbs.
 */
import { startLoop } from "../loop.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider } from "../provider/provider.ts";
import { newTrace, withTrace } from "../trace.ts";
import type { Inbox, UnappliedWebhook } from "./inbox.ts";

export interface Redelivery {
  /**
   * Applies the webhooks that wait for this reference. To be called after a reference was committed, and after such a
   * webhook was: whichever comes second finds the other. Never throws: what fails here falls due by itself.
   */
  offerParked(provider: string, reference: string): Promise<void>;
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

export function startRedelivery({ providers, store, inbox, log }: RedeliveryOptions): Redelivery {
  const offer = async ({ id, provider: name, paymentId, headers, body }: UnappliedWebhook): Promise<void> => {
    const claim = providers.get(name)?.translate({ headers, body, ...(paymentId !== undefined && { paymentId }) });
    if (!claim) return;
    const { reference, outcome, proof } = claim;
    const found = claim.paymentId ?? (reference === undefined ? undefined : await store.locate(name, reference));
    if (found === undefined) return;
    if (proof === "none") {
      // What proved it was not kept, such as a header with a key: it still is a reason to ask.
      await store.checkNow(found);
      return inbox.settle(id, "hint");
    }
    const { result } = outcome ? await store.advance(found, outcome) : { result: "nothing" as const };
    if (result !== "unmatched") await inbox.settle(id, result);
    log.info({ provider: name, paymentId: found, result }, "webhook offered again");
  };

  const offerAll = async (webhooks: readonly UnappliedWebhook[]): Promise<void> => {
    for (const webhook of webhooks) {
      await offer(webhook).catch((error: unknown) =>
        log.warn({ webhook: webhook.id, err: error }, "still not applied"),
      );
    }
  };

  const loop = startLoop({
    task: async () => {
      for (const webhook of await inbox.claimUnapplied(batchMax)) {
        await withTrace(newTrace(), () => offerAll([webhook]));
      }
    },
    delayMs: () => intervalMs,
    onError: (error) => log.warn({ err: error }, "unapplied webhooks could not be read"),
    onRecovered: () => log.info({}, "unapplied webhooks can be read again"),
  });

  return {
    async offerParked(provider, reference) {
      try {
        await offerAll(await inbox.claimParked(provider, reference));
      } catch (error) {
        log.warn({ provider, err: error }, "parked webhooks could not be read");
      }
    },
    close: loop.close,
  };
}
