/**
 * The sandbox of bKash tokenized checkout: tokens, create, execute, query, the notification of a completed payment, and
 * bKash's page for the payer. Shapes, types and texts are bKash's, so the real adapter runs unchanged. Mount at
 * `/sandbox/bkash`.
 *
 * The payer pays on the page. If the payer reference is a phone, the payer may instead answer a prompt on that phone; the
 * sandbox then acts as the payer's browser and returns to the callback URL. The test numbers mean:
 *
 * - 01 to 05: as at other providers; Execute reports the failure, except for 02, which the browser reports.
 * - 06: the answer to Execute is lost.
 * - 07: the browser returns three times, and there are three notifications.
 * - 08: the notification comes before the answer to Execute. It cannot come before the answer to create, because only that
 *   answer has the page's URL.
 * - 09: the browser returns 3 s after the deadline, after which the node takes no money.
 * - 10: Execute takes another amount.
 * - 11 and 12: the payer never gets the page's URL, so there is no payment.
 * - 20: refused as a duplicate.
 *
 * In memory: a restart removes all payments.
 */
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { type Phone, type Scenario, scenarioOf } from "../../sandbox/phone.ts";
import { clueOf } from "../../sandbox/prompt-view.ts";
import {
  createDelivery,
  createScenarioRunner,
  type ScenarioRun,
  type WebhookMessage,
  whenReplied,
} from "../../sandbox/scenario.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../sandbox/server.ts";
import {
  type Checkout,
  created,
  type Ending,
  endings,
  executed,
  notified,
  openCheckout,
  type Paid,
  pay,
  queried,
  returnTarget,
} from "./sandbox-checkout.ts";
import { configureBkashHttp, type FaultCode, fault, gatewayFault, issueTokens, oldFault } from "./sandbox-gateway.ts";
import { servePage } from "./sandbox-page.ts";

/** Without a topic, because the sandbox has no SNS: there is no subscription to confirm. */
const account = (secretOf: (variable: string) => string) => ({
  USERNAME: secretOf("USERNAME"),
  PASSWORD: secretOf("PASSWORD"),
  APP_KEY: secretOf("APP_KEY"),
  APP_SECRET: secretOf("APP_SECRET"),
});

/** 300 s for the payer, because the page asks for wallet, code and PIN. */
export const bkashSandbox = { account, serve, personS: 300 } as const satisfies Sandbox;

/** Text without `<`, `>` and `&` (developer.bka.sh, "Create Payment"). */
const plain = z.string().regex(/^[^<>&]{1,255}$/);

const createBody = z.object({
  mode: z.literal("0011"),
  payerReference: plain,
  callbackURL: z.url({ protocol: /^https?$/ }).max(2_048),
  amount: z.string().regex(/^(?!0+\.00$)\d{1,10}\.\d{2}$/),
  currency: z.literal("BDT"),
  intent: z.literal("sale"),
  merchantInvoiceNumber: plain,
});

/** The error of each invalid field. */
const fieldFaults: Readonly<Record<string, FaultCode>> = {
  mode: "2063",
  payerReference: "2048",
  callbackURL: "2049",
  amount: "2006",
  currency: "2007",
  intent: "2008",
  merchantInvoiceNumber: "2031",
};

/** 10,000; a further payment removes the oldest one (G12). */
const checkoutsMax = 10_000;

/** 24 h, because a payment can be executed for that long (developer.bka.sh, "Create Payment"). */
const lifetimeMs = 86_400_000;

const wallet = /^01\d{9}$/;

function serve(app: FastifyInstance, context: SandboxContext<ReturnType<typeof account>>): IsMerchant {
  const { account, phone, isOwn, webhookUrl, publicUrl, now = () => new Date() } = context;
  const checkouts = createCheckouts(now);
  const deliver = createDelivery(app, context);
  const runScenario = createScenarioRunner(app, context);
  configureBkashHttp(app);
  const { requireToken, isMerchant } = issueTokens(app, { account, now });

  servePage(app, {
    find: (token) => checkouts.findByToken(token),
    end: (checkout, ending) => endOnPage(checkout, ending, phone),
    async factsOf({ callbackURL }) {
      const clue = clueOf(callbackURL);
      return clue && context.describe?.(clue);
    },
  });

  app.post("/tokenized/checkout/create", async (request, reply) => {
    requireToken(request);
    const body = readCreate(request.body);
    // The browser, and the sandbox in its place, visits this URL: it must be the node's.
    if (!isOwn(body.callbackURL)) throw fault("2049");
    const scenario = scenarioOfPayer(body.payerReference);
    const checkout = openCheckout({ ...body, createdAt: now(), scenario });
    checkouts.add(checkout);
    if (wallet.test(body.payerReference)) await runScenario(runOnPhone(checkout, reply));
    const base = publicUrl?.() ?? `${request.protocol}://${request.host}${app.prefix}`;
    return created(checkout, `${base}/redirect/?token=${checkout.token}`);
  });

  app.post("/tokenized/checkout/execute", async (request, reply) => {
    requireToken(request);
    const checkout = checkouts.find(request.body);
    const paid = execute(checkout, { isExpired: checkouts.isExpired(checkout), at: now() });
    const { webhooks, overtakes } = checkout.scenario;
    if (webhooks === 0) throw gatewayFault(504, "Endpoint request timed out");
    const notification = notificationOf(webhookUrl(), checkout, paid);
    const waitsFor = overtakes ? undefined : whenReplied(reply);
    const delivered = Promise.resolve(waitsFor).then(() =>
      Promise.all(Array.from({ length: webhooks }, () => deliver(notification))),
    );
    if (overtakes) await delivered;
    return executed(checkout, paid);
  });

  app.post("/tokenized/checkout/payment/status", async (request) => {
    requireToken(request);
    return queried(checkouts.find(request.body));
  });

  return isMerchant;
}

/** The payments, in memory. */
interface Checkouts {
  add(checkout: Checkout): void;
  /** Finds the payment that a request's body names. Throws bKash's error. */
  find(body: unknown): Checkout;
  /** Finds the payment of this page token; undefined if there is none or it has expired. */
  findByToken(token: string): Checkout | undefined;
  isExpired(checkout: Checkout): boolean;
}

function createCheckouts(now: () => Date): Checkouts {
  const checkouts = new Map<string, Checkout>();
  const isExpired = ({ createdAt }: Checkout): boolean => now().getTime() > createdAt.getTime() + lifetimeMs;
  return {
    add(checkout) {
      const [oldest] = checkouts.keys();
      if (oldest !== undefined && checkouts.size >= checkoutsMax) checkouts.delete(oldest);
      checkouts.set(checkout.paymentID, checkout);
    },
    find(body) {
      const { success, data } = paymentBody.safeParse(body);
      if (!success) throw oldFault("2065");
      const checkout = checkouts.get(data.paymentID);
      if (!checkout) throw fault("2002");
      return checkout;
    },
    findByToken: (token) =>
      [...checkouts.values()].find((checkout) => checkout.token === token && !isExpired(checkout)),
    isExpired,
  };
}

/** Returns the scenario of a payer reference. Throws bKash's error if the scenario refuses the payment. */
function scenarioOfPayer(payerReference: string): Scenario {
  const scenario = wallet.test(payerReference) ? scenarioOf(payerReference) : { webhooks: 1 };
  if (scenario.isDown) throw gatewayFault(503, "Service Unavailable");
  if (scenario.isBusy) throw fault("2029");
  return scenario;
}

/** The run of a payment whose payer answers on the phone; its webhook is the return of the payer's browser. */
function runOnPhone(checkout: Checkout, reply: FastifyReply): ScenarioRun {
  const { amount, payerReference, callbackURL, scenario } = checkout;
  const amountMinor = Number(amount.replace(".", ""));
  return {
    prompt: {
      provider: "bkash",
      phone: `+88${payerReference}`,
      amountMinor,
      currency: "BDT",
      clue: clueOf(callbackURL),
    },
    reply,
    scenario: scenarioOfBrowser(scenario),
    onPrompt(promptId) {
      checkout.promptId = promptId;
    },
    settle(answer) {
      const ending = { ...endings[answer], wallet: payerReference };
      if (scenario.isSilent || !end(checkout, ending)) return undefined;
      return { method: "GET", url: returnTarget(checkout, ending.visit) };
    },
  };
}

/** The browser returns only after the answer to create, and at least once. */
const scenarioOfBrowser = ({ overtakes: _, webhooks, ...scenario }: Scenario): Scenario => ({
  ...scenario,
  webhooks: Math.max(1, webhooks),
});

/** Ends the payer's visit. The first ending counts; returns whether this is the first. */
function end(checkout: Checkout, ending: Ending): boolean {
  if (checkout.ending) return false;
  checkout.ending = ending;
  return true;
}

/** Ends the visit of a payer on the page, and removes the prompt from the phone. */
function endOnPage(checkout: Checkout, ending: Ending, phone: Phone): void {
  if (!end(checkout, ending)) return;
  const { wallet = checkout.payerReference } = ending;
  checkout.scenario = scenarioOf(wallet);
  const isOpen = phone.prompts(checkout.payerReference).some(({ id }) => id === checkout.promptId);
  if (isOpen && checkout.promptId !== undefined) phone.answer(checkout.promptId, "ignore");
}

/** Takes the money. Throws bKash's error unless the payer has approved the payment and it was not executed before. */
function execute(checkout: Checkout, { isExpired, at }: { isExpired: boolean; at: Date }): Paid {
  const { ending, paid, isExecuted } = checkout;
  if (paid) throw fault("2062");
  if (isExecuted) throw fault("2117");
  if (isExpired || (ending && ending.visit !== "success")) throw fault("2056");
  if (!ending) throw fault("2060");
  checkout.isExecuted = true;
  if (ending.executeCode !== "0000") throw fault(ending.executeCode);
  checkout.paid = pay(checkout, at);
  return checkout.paid;
}

const notificationOf = (url: URL, checkout: Checkout, paid: Paid): WebhookMessage => ({
  url: url.href,
  headers: { "content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification" },
  body: JSON.stringify(notified(checkout, paid)),
});

const paymentBody = z.object({ paymentID: z.string() });

function readCreate(body: unknown): z.infer<typeof createBody> {
  const fields = z.record(z.string(), z.unknown()).safeParse(body).data;
  if (!fields) throw fault("2025");
  if (Object.keys(fieldFaults).some((name) => fields[name] === undefined)) throw oldFault("2065");
  const parsed = createBody.safeParse(fields);
  if (parsed.success) return parsed.data;
  throw fault(fieldFaults[String(parsed.error.issues[0]?.path[0])] ?? "2025");
}
