/**
 * Runs the scenario of a request for money, for every provider's sandbox. The phone's number selects the scenario. The runner shows
 * a prompt, settles the payment when the payer answers, and sends the webhook as many times as the scenario states, whatever the
 * node answers. Closing the app aborts webhooks in flight.
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
  /** By default the scenario of the prompt's phone. */
  scenario?: Scenario;
  /** Called with the id of the prompt. */
  onPrompt?(promptId: string): void;
  /** Records the payer's answer. Returns the webhook, if the provider sends one for it. */
  settle(answer: PayerAnswer, scenario: Scenario): WebhookMessage | undefined;
}

export interface WebhookMessage {
  /**
   * POST by default. GET stands for the returning browser of the payer: it is repeated while the node answers 503, and follows no
   * redirect.
   */
  method?: "GET" | "POST" | "PUT";
  url: string;
  headers?: Record<string, string>;
  body?: string;
}

/** Runs the scenario of one payment. Resolves when the request for money may be answered. */
export type RunScenario = (run: ScenarioRun) => Promise<void>;

const webhookDeadlineMs = 10_000;

/** The delay before a repeated GET, as the return page reloads while it answers 503. */
const reloadMs = 500;

/** 20, because the page answers 503 only for some seconds. */
const loadsMax = 20;

/** Webhooks in flight; further ones are dropped (G12). One takes about 20 s at most. */
const deliveriesMax = 10_000;

/**
 * Creates a function that sends one message to this node, whatever the node answers. It refuses other URLs and does not follow
 * redirects. `app` is the scope of the provider's sandbox.
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
    const allHeaders = { ...(body !== undefined && { "content-type": "application/json" }), ...headers };
    const answer = await send(url, {
      method,
      headers: allHeaders,
      ...(body !== undefined && { body }),
      dispatcher: agent,
    });
    await answer.body.dump();
    return answer.statusCode;
  };

  return async (message) => {
    inFlight += 1;
    try {
      if (!isOwn(message.url)) throw new Error("the URL is not this node's");
      if (inFlight > deliveriesMax) throw new Error("too many webhooks are in flight");
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
    const waitsFor = scenario.overtakes || scenario.isSilent ? undefined : replied;
    const settled = Promise.all([answer, waitsFor]).then(async ([given]) => {
      const message = settle(given, scenario);
      if (message) await Promise.all(Array.from({ length: scenario.webhooks }, () => deliver(message)));
    });
    if (scenario.overtakes) await settled;
    // The request for money gets no answer: the caller's timeout ends it.
    if (scenario.isSilent) await replied;
  };
}

/** Resolves when the reply was sent or the caller disconnected. */
export const whenReplied = (reply: FastifyReply): Promise<void> =>
  new Promise((resolve) => {
    finished(reply.raw, () => resolve());
  });
