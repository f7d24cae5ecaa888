/** What the sandboxes of all SMS gateways share: the test numbers, the phone that receives the texts, and the delivery reports. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { createDelivery, type WebhookMessage, whenReplied } from "./scenario.ts";
import type { SandboxContext } from "./server.ts";
import type { IncomingSms } from "./sms-list.ts";

/** What becomes of the texts to one test number. */
export type SmsScenario = "delivered" | "refused" | "silent" | "failed";

/** By the last two digits of the phone. docs/sandbox.md has the same table. A payment with such a number waits for a person. */
const smsScenarios: ReadonlyMap<string, SmsScenario> = new Map([
  ["30", "refused"],
  ["31", "silent"],
  ["32", "failed"],
]);

export const smsScenarioOf = (phone: string): SmsScenario => smsScenarios.get(phone.slice(-2)) ?? "delivered";

/** 1 s, because a network needs some time. */
const reportAfterMs = 1_000;

export interface SmsRun {
  sms: IncomingSms;
  /** The reply to the request to send. */
  reply: FastifyReply;
  /** The delivery report; undefined: none is sent. */
  report(status: "delivered" | "failed"): WebhookMessage | undefined;
}

/** Brings one accepted text to the phone, and reports it. Resolves when the request to send may be answered. */
export type RunSms = (run: SmsRun) => Promise<void>;

/** `app` is the scope of the gateway's sandbox. `afterMs`: until the report, shorter in tests. */
export function createSmsRunner(
  app: FastifyInstance,
  { phone, isOwn, afterMs = reportAfterMs }: Pick<SandboxContext, "phone" | "isOwn"> & { afterMs?: number },
): RunSms {
  const deliver = createDelivery(app, { isOwn });
  const timers = new Set<NodeJS.Timeout>();
  app.addHook("onClose", async () => {
    for (const timer of timers) clearTimeout(timer);
  });

  return async ({ sms, reply, report }) => {
    const scenario = smsScenarioOf(sms.phone);
    if (scenario !== "failed") phone.receiveSms(sms);
    const replied = whenReplied(reply);
    const message = scenario === "silent" ? undefined : report(scenario === "failed" ? "failed" : "delivered");
    void replied.then(() => {
      if (!message) return;
      const timer = setTimeout(() => {
        timers.delete(timer);
        void deliver(message);
      }, afterMs).unref();
      timers.add(timer);
    });
    // The request gets no answer: the caller's timeout ends it. The phone has the text all the same.
    if (scenario === "silent") await replied;
  };
}
