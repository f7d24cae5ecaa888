/**
 * bKash tokenized checkout: tokens, create, execute, query, the notification of what was paid, and bKash's own page for the
 * payer. Shapes, types and texts are bKash's, so that the real adapter cannot tell the difference. To be mounted at
 * `/sandbox/bkash`.
 *
 * A payment is paid on the page, or, where its payer reference is a phone, by answering on that phone: the sandbox then
 * plays the payer's browser and comes back to the callback address. The numbers of the contract mean here:
 * 01 to 05 as everywhere; Execute says what is wrong (02: the browser does). 06: the answer of Execute is lost. 07: the
 * browser comes back three times, and there are three notifications. 08: the notification comes before the answer of
 * Execute, as nothing can come before that of create: only it tells the page's address. 09: the browser comes back 3 s
 * after the deadline, when nobody takes the money any more. 10: Execute takes another amount. 11 and 12: nobody has
 * the page's address, so there is nothing to pay. 20: refused as a duplicate.
 *
 * In memory: a restart forgets every payment.
 */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Scenario, scenarioOf } from "../../sandbox/phone.ts";
import { createDelivery, createScenarioRunner, whenReplied } from "../../sandbox/scenario.ts";
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
import { type FaultCode, fault, gatewayFault, issueTokens, oldFault, speakBkash } from "./sandbox-gateway.ts";
import { servePage } from "./sandbox-page.ts";

/** Without a topic: no Amazon is behind the sandbox, and so no subscription is to be confirmed. */
const account = (secretOf: (variable: string) => string) => ({
  USERNAME: secretOf("USERNAME"),
  PASSWORD: secretOf("PASSWORD"),
  APP_KEY: secretOf("APP_KEY"),
  APP_SECRET: secretOf("APP_SECRET"),
});

export const bkashSandbox = { account, serve } as const satisfies Sandbox;

/** No `<`, `>` or `&` (developer.bka.sh, "Create Payment"). */
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

/** What a field is called when it is wrong. */
const fieldFaults: Readonly<Record<string, FaultCode>> = {
  mode: "2063",
  payerReference: "2048",
  callbackURL: "2049",
  amount: "2006",
  currency: "2007",
  intent: "2008",
  merchantInvoiceNumber: "2031",
};

/** Older payments are forgotten. */
const checkoutsMax = 10_000;

/** developer.bka.sh, "Create Payment": a payment can be executed for 24 h. */
const lifetimeMs = 86_400_000;

const wallet = /^01\d{9}$/;

function serve(app: FastifyInstance, context: SandboxContext<ReturnType<typeof account>>): IsMerchant {
  const { account, phone, isOwn, webhookUrl, publicUrl, now = () => new Date() } = context;
  const checkouts = new Map<string, Checkout>();
  const deliver = createDelivery(app, context);
  const play = createScenarioRunner(app, context);
  speakBkash(app);
  const { requireToken, isMerchant } = issueTokens(app, { account, now });

  const remember = (checkout: Checkout): Checkout => {
    const [oldest] = checkouts.keys();
    if (oldest !== undefined && checkouts.size >= checkoutsMax) checkouts.delete(oldest);
    checkouts.set(checkout.paymentID, checkout);
    return checkout;
  };

  /** The first ending counts; whoever comes later changes nothing. */
  const end = (checkout: Checkout, ending: Ending): boolean => {
    if (checkout.ending) return false;
    checkout.ending = ending;
    return true;
  };

  const notify = (checkout: Checkout, paid: Paid): Promise<void> =>
    deliver({
      url: webhookUrl().href,
      headers: { "content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification" },
      body: JSON.stringify(notified(checkout, paid)),
    });

  const isOver = ({ createdAt }: Checkout): boolean => now().getTime() > createdAt.getTime() + lifetimeMs;

  servePage(app, {
    find: (token) => [...checkouts.values()].find((checkout) => checkout.token === token && !isOver(checkout)),
    end(checkout, ending) {
      if (!end(checkout, ending)) return;
      const { wallet = checkout.payerReference } = ending;
      checkout.scenario = scenarioOf(wallet);
      // The phone asks no more; what it was answered comes too late to count.
      const isRinging = phone.prompts(checkout.payerReference).some(({ id }) => id === checkout.promptId);
      if (isRinging && checkout.promptId !== undefined) phone.answer(checkout.promptId, "ignore");
    },
  });

  app.post("/tokenized/checkout/create", async (request, reply) => {
    requireToken(request);
    const body = readCreate(request.body);
    // Where the payer's browser is sent, and the sandbox itself where it plays the browser: the hub's return address.
    if (!isOwn(body.callbackURL)) throw fault("2049");
    const scenario = wallet.test(body.payerReference) ? scenarioOf(body.payerReference) : { webhooks: 1 };
    if (scenario.isDown) throw gatewayFault(503, "Service Unavailable");
    if (scenario.isBusy) throw fault("2029");
    const checkout = remember(openCheckout({ ...body, createdAt: now(), scenario }));
    if (wallet.test(body.payerReference)) {
      const [ringing, amountMinor] = [`+88${body.payerReference}`, Number(body.amount.replace(".", ""))];
      await play({
        prompt: { provider: "bkash", phone: ringing, amountMinor, currency: "BDT" },
        reply,
        scenario: asBrowser(scenario),
        onPrompt(promptId) {
          checkout.promptId = promptId;
        },
        settle(answer) {
          const ending = { ...endings[answer], wallet: body.payerReference };
          if (scenario.isSilent || !end(checkout, ending)) return undefined;
          return { method: "GET", url: returnTarget(checkout, ending.visit) };
        },
      });
    }
    const base = publicUrl?.() ?? `${request.protocol}://${request.host}${app.prefix}`;
    return created(checkout, `${base}/redirect/?token=${checkout.token}`);
  });

  app.post("/tokenized/checkout/execute", async (request, reply) => {
    requireToken(request);
    const checkout = findCheckout(request.body);
    const paid = execute(checkout);
    const { webhooks, overtakes } = checkout.scenario;
    if (webhooks === 0) throw gatewayFault(504, "Endpoint request timed out");
    const replied = overtakes ? undefined : whenReplied(reply);
    const told = Promise.resolve(replied).then(() =>
      Promise.all(Array.from({ length: webhooks }, () => notify(checkout, paid))),
    );
    if (overtakes) await told;
    return executed(checkout, paid);
  });

  app.post("/tokenized/checkout/payment/status", async (request) => {
    requireToken(request);
    return queried(findCheckout(request.body));
  });

  const findCheckout = (body: unknown): Checkout => {
    const { success, data } = paymentBody.safeParse(body);
    if (!success) throw oldFault("2065");
    const checkout = checkouts.get(data.paymentID);
    if (!checkout) throw fault("2002");
    return checkout;
  };

  /** Once for each payment, and only after its payer has agreed. */
  const execute = (checkout: Checkout): Paid => {
    const { ending, paid, isExecuted } = checkout;
    if (paid) throw fault("2062");
    if (isExecuted) throw fault("2117");
    if (isOver(checkout) || (ending && ending.visit !== "success")) throw fault("2056");
    if (!ending) throw fault("2060");
    checkout.isExecuted = true;
    if (ending.verdict !== "0000") throw fault(ending.verdict);
    checkout.paid = pay(checkout, now());
    return checkout.paid;
  };

  return isMerchant;
}

const paymentBody = z.object({ paymentID: z.string() });

function readCreate(body: unknown): z.infer<typeof createBody> {
  const fields = z.record(z.string(), z.unknown()).safeParse(body).data;
  if (!fields) throw fault("2025");
  if (Object.keys(fieldFaults).some((name) => fields[name] === undefined)) throw oldFault("2065");
  const parsed = createBody.safeParse(fields);
  if (parsed.success) return parsed.data;
  throw fault(fieldFaults[String(parsed.error.issues[0]?.path[0])] ?? "2025");
}

/** The payer's browser cannot come back before create was answered, and once it has set out it arrives. */
const asBrowser = ({ overtakes: _, webhooks, ...scenario }: Scenario): Scenario => ({
  ...scenario,
  webhooks: Math.max(1, webhooks),
});
