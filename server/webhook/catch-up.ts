/**
 * Catches up after an outage of PostgreSQL: once it answers, applies the spooled webhooks and makes the postponed payments
 * due. A webhook leaves the spool after it was recorded, so a crash in between records it twice, which is harmless.
 */
import type { IncomingHttpHeaders } from "node:http";
import { HubError } from "../errors.ts";
import { type Loop, startLoop } from "../loop.ts";
import type { Provider } from "../provider/provider.ts";
import type { DatabaseState, PaymentChecks } from "./check.ts";
import { isRejected, translate } from "./incoming.ts";
import { type RecordOptions, recordWebhook } from "./record.ts";
import type { Spool, SpooledWebhook } from "./spool.ts";

export interface CatchUpOptions extends RecordOptions {
  providers: ReadonlyMap<string, Provider>;
  spool?: Spool;
  database: DatabaseState;
  checks: PaymentChecks;
  isDatabaseUp: () => Promise<boolean>;
}

const intervalMs = 500;

export function startCatchUp(options: CatchUpOptions): Pick<Loop, "close"> {
  const { spool, database, checks, isDatabaseUp, log } = options;
  return startLoop({
    task: async () => {
      const isIdle = !spool && !database.isAway && !checks.hasPostponed;
      if (isIdle || !(await isDatabaseUp())) return;
      database.isAway = false;
      await spool?.drain((webhook) => applySpooled(webhook, options));
      await checks.resume();
    },
    delayMs: () => intervalMs,
    onError: (err) => log.warn({ event: "webhook.spool.drain_failed", err }, "Could not drain the spool"),
    onRecovered: () => log.info({ event: "webhook.spool.drain_recovered" }, "Drained the spool again"),
  });
}

/** Throws while PostgreSQL is away, which keeps the webhook in the spool. */
async function applySpooled(
  { provider: name, paymentId, headers, body }: SpooledWebhook,
  options: CatchUpOptions,
): Promise<void> {
  const { providers, inbox, log } = options;
  const known = paymentId !== undefined && { paymentId };
  const webhook = { headers: headers as IncomingHttpHeaders, body, ...known };
  const provider = providers.get(name);
  const translation = provider ? await translate(provider, webhook) : new HubError("provider_unknown");
  if (!provider || isRejected(translation)) {
    // The webhook was proven when it was spooled. An operator finds it in the inbox.
    const error = "Spooled; since then its provider was disabled or its proof became invalid";
    await inbox.insert({ provider: name, proof: "none", headers, body, ...known, result: "error", error });
    return;
  }
  const { result } = await recordWebhook({ provider, webhook, translation }, true, options);
  log.info({ event: "webhook.spool.applied", provider: name, paymentId, result }, "Applied a spooled webhook");
}
