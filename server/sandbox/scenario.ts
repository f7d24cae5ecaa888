/**
 * What every provider's sandbox does with a request for money: ring the phone, settle once the payer has answered, and
 * send webhooks, in the order that the phone's number asks for. A webhook is sent as often as the number says, whatever
 * it is answered with; closing the app abandons those under way.
 */
import { finished } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyInstance, FastifyReply } from "fastify";
import { Agent, request as send } from "undici";
import { type PayerAnswer, type PromptRequest, type Scenario, scenarioOf } from "./phone.ts";
import type { SandboxContext } from "./server.ts";

export interface ScenarioRun {
  prompt: PromptRequest;
  /** The reply to the request for money. */
  reply: FastifyReply;
  /** What the phone's number makes happen, where not all of it makes sense for this provider. */
  scenario?: Scenario;
  /** Hears by which id the phone shows the prompt. */
  onPrompt?(promptId: string): void;
  /** Makes the answer known; the webhook to send, if this provider has one for it. */
  settle(answer: PayerAnswer, scenario: Scenario): WebhookMessage | undefined;
}

export interface WebhookMessage {
  /**
   * POST by default. `GET`: the payer's browser on its way back, which waits if it is asked to, and does not follow where
   * it is sent on to.
   */
  method?: "GET" | "POST" | "PUT";
  url: string;
  headers?: Record<string, string>;
  body?: string;
}

/** Plays one payment. Resolves when the request for money may be answered. */
export type RunScenario = (played: ScenarioRun) => Promise<void>;

const webhookDeadlineMs = 10_000;

/** A page that asks the payer to wait is loaded again, as browsers do. */
const reloadMs = 500;
const loadsMax = 20;

/** What comes on top of so many under way is lost, as webhooks may be: none takes longer than some 20 s. */
const deliveriesMax = 10_000;

/**
 * Sends one message, whatever it is answered with, and to this hub alone: redirects are not followed. `app` is the scope
 * of the provider's sandbox.
 */
export function createDelivery(
  app: FastifyInstance,
  { isOwn }: Pick<SandboxContext, "isOwn">,
): (message: WebhookMessage) => Promise<void> {
  const agent = new Agent({ headersTimeout: webhookDeadlineMs, bodyTimeout: webhookDeadlineMs });
  const closing = new AbortController();
  let inFlight = 0;
  app.addHook("onClose", () => {
    closing.abort();
    return agent.destroy();
  });

  const deliver = async ({ method = "POST", url, headers, body }: WebhookMessage): Promise<number> => {
    const all = { ...(body !== undefined && { "content-type": "application/json" }), ...headers };
    const what = { method, headers: all, ...(body !== undefined && { body }) };
    const answer = await send(url, { ...what, dispatcher: agent });
    await answer.body.dump();
    return answer.statusCode;
  };

  return async (message) => {
    inFlight += 1;
    try {
      if (!isOwn(message.url)) throw new Error("the address is not this hub's own");
      if (inFlight > deliveriesMax) throw new Error("too many webhooks are under way");
      for (let load = 1; load <= loadsMax; load += 1) {
        const status = await deliver(message);
        if (message.method !== "GET" || status !== 503) return;
        await wait(reloadMs, undefined, { signal: closing.signal });
      }
    } catch (error) {
      app.log.info({ event: "sandbox.webhook.failed", err: error }, "a sandbox's webhook was not delivered");
    } finally {
      inFlight -= 1;
    }
  };
}

/** `app` is the scope of the provider's sandbox. */
export function createScenarioRunner(
  app: FastifyInstance,
  context: Pick<SandboxContext, "phone" | "isOwn">,
): RunScenario {
  const { phone } = context;
  const deliver = createDelivery(app, context);

  return async ({ prompt, reply, scenario = scenarioOf(prompt.phone), onPrompt, settle }) => {
    const { id, answer } = phone.prompt(prompt);
    onPrompt?.(id);
    const replied = whenReplied(reply);
    const mayGoOut = scenario.overtakes || scenario.isSilent ? undefined : replied;
    const settled = Promise.all([answer, mayGoOut]).then(async ([given]) => {
      const message = settle(given, scenario);
      if (message) await Promise.all(Array.from({ length: scenario.webhooks }, () => deliver(message)));
    });
    if (scenario.overtakes) await settled;
    // Never answered: the caller gives up first.
    if (scenario.isSilent) await replied;
  };
}

/** Resolves when the reply has been sent, or the caller has gone. */
export const whenReplied = (reply: FastifyReply): Promise<void> =>
  new Promise((resolve) => {
    finished(reply.raw, () => resolve());
  });
