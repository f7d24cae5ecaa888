/**
 * The sandbox of PayHero Kenya: the request for money, the query, and the webhook after the payer's answer. Mount at
 * `/sandbox/payhero`. In memory: a restart removes all payments.
 *
 * The replies and the webhook of a success follow PayHero's samples. PayHero publishes no webhook of a failure: the sandbox sends
 * the shape of a success with M-Pesa's code. PayHero publishes no error either: the fields are those that integrators report, and
 * the texts are invented. Webhooks have the shape of backend.payhero.co.ke, because that of the other platform
 * (api.payhero.africa) has no codes and cannot express most test numbers.
 *
 * All test numbers work. 20 (busy phone) waits for a person, because PayHero answers `QUEUED` before M-Pesa finds the phone
 * busy.
 */
import { randomInt, randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { Fault, handleFaults, parseEveryBodyAsJson } from "../../sandbox/fault.ts";
import { capitals, type MpesaResult, mpesaResults, receipt } from "../../sandbox/mpesa.ts";
import { type PromptRequest, scenarioOf } from "../../sandbox/phone.ts";
import { clueOf } from "../../sandbox/prompt-view.ts";
import { createScenarioRunner } from "../../sandbox/scenario.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../sandbox/server.ts";

/** The channel of PayHero's samples. Not a secret. */
const channelId = "133";

const account = (secretOf: (variable: string) => string) => ({
  USERNAME: secretOf("USERNAME"),
  PASSWORD: secretOf("PASSWORD"),
  CHANNEL_ID: channelId,
});

export const payheroSandbox = { account, serve } as const satisfies Sandbox;

const paymentBody = z.object({
  amount: z.number().int().min(1).max(250_000),
  phone_number: z.string().regex(/^(0|254)(7|1)\d{8}$/),
  channel_id: z.literal(Number(channelId)),
  provider: z.literal("m-pesa"),
  external_reference: z.string().optional(),
  customer_name: z.string().optional(),
  callback_url: z.url({ protocol: /^https?$/ }).optional(),
});

interface Payment {
  reference: string;
  merchantRequestId: string;
  checkoutRequestId: string;
  /** `254712345678`. */
  msisdn: string;
  /** Whole shillings. */
  amount: number;
  externalReference: string;
  callbackUrl?: string | undefined;
  askedAt: Date;
  result?: MpesaResult;
  /** Empty unless paid. */
  receipt: string;
}

/** 10,000; a further payment removes the oldest one (G12), and queries of that one are answered 404. */
const paymentsMax = 10_000;

function serve(app: FastifyInstance, context: SandboxContext<ReturnType<typeof account>>): IsMerchant {
  const { account, isOwn, now = () => new Date() } = context;
  const payments = new Map<string, Payment>();
  const runScenario = createScenarioRunner(app, context);
  const authorization = `Basic ${Buffer.from(`${account.USERNAME}:${account.PASSWORD}`).toString("base64")}`;
  const isMerchant: IsMerchant = ({ headers }) => isSame(headers.authorization ?? "", authorization);
  configurePayheroHttp(app, isMerchant);

  const remember = (body: z.infer<typeof paymentBody>): Payment => {
    const [oldest] = payments.keys();
    if (oldest !== undefined && payments.size >= paymentsMax) payments.delete(oldest);
    const payment = accept(body, now());
    payments.set(payment.reference, payment);
    return payment;
  };

  app.post("/payments", async (request, reply) => {
    const body = parseFields(request.body);
    if (body.callback_url !== undefined && !isOwn(body.callback_url)) throw invalid("callback_url");
    // Integrators observe an HTML page when PayHero is down.
    if (scenarioOf(body.phone_number).isDown) return reply.code(503).type("text/html").send(downPage);
    const payment = remember(body);
    await runScenario({
      prompt: promptOf(payment),
      reply,
      settle(answer, { paysWrongAmount }) {
        payment.result = mpesaResults[answer];
        if (answer === "approve") payment.receipt = receipt();
        const { callbackUrl: url } = payment;
        return url === undefined
          ? undefined
          : { url, body: webhookBody(payment, payment.result, paysWrongAmount ? 1 : 0) };
      },
    });
    const { reference, checkoutRequestId } = payment;
    return reply.code(201).send({ success: true, status: "QUEUED", reference, CheckoutRequestID: checkoutRequestId });
  });

  app.get<{ Querystring: { reference?: unknown } }>("/transaction-status", async ({ query }) => {
    const payment = payments.get(String(query.reference ?? ""));
    if (!payment) throw fault(404, "NOT_FOUND", "transaction not found");
    return queryReply(payment);
  });
  return isMerchant;
}

const promptOf = ({ msisdn, amount, callbackUrl }: Payment): PromptRequest => ({
  provider: "payhero",
  phone: `+${msisdn}`,
  amountMinor: amount * 100,
  currency: "KES",
  clue: clueOf(callbackUrl),
});

const fault = (status: number, errorCode: string, message: string): Fault =>
  new Fault(status, { success: false, error_code: errorCode, error_message: message });

const downPage = "<html><head><title>503 Service Temporarily Unavailable</title></head><body></body></html>";

/** Sets up errors and bodies as at PayHero, and requires the credentials on each request. */
function configurePayheroHttp(app: FastifyInstance, isMerchant: IsMerchant): void {
  app.addHook("onRequest", async (request) => {
    if (!isMerchant(request)) throw fault(401, "UNAUTHORIZED", "invalid API credentials");
  });
  handleFaults(app, {
    notFound: () => fault(404, "NOT_FOUND", "no such endpoint"),
    internal: () => fault(500, "INTERNAL_ERROR", "internal server error"),
  });
  parseEveryBodyAsJson(app);
}

/** Parses a body. Throws PayHero's error for the first invalid field, in the order of its documentation. */
function parseFields(body: unknown): z.infer<typeof paymentBody> {
  const parsed = paymentBody.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  throw invalid(String(parsed.error.issues[0]?.path[0] ?? "request"));
}

const invalid = (field: string): Fault => fault(400, "BAD_REQUEST", `invalid ${field}`);

function accept(body: z.infer<typeof paymentBody>, askedAt: Date): Payment {
  const msisdn = body.phone_number.replace(/^0/, "254");
  return {
    // Integrators observe both forms.
    reference: randomInt(2) === 0 ? capitals(10) : randomUUID(),
    merchantRequestId: `${randomInt(1_000, 10_000)}-${randomInt(10_000_000, 100_000_000)}-1`,
    checkoutRequestId: `ws_CO_${checkoutTimestamp(askedAt)}${msisdn.slice(-9)}`,
    msisdn,
    amount: body.amount,
    externalReference: body.external_reference ?? "",
    callbackUrl: body.callback_url,
    askedAt,
    receipt: "",
  };
}

/** Day, month, year, time and milliseconds in Kenya, as in M-Pesa's ids: 14012024103543427. */
function checkoutTimestamp(at: Date): string {
  const digits = new Date(at.getTime() + 3 * 3_600_000).toISOString().replace(/\D/g, "");
  return digits.slice(6, 8) + digits.slice(4, 6) + digits.slice(0, 4) + digits.slice(8);
}

/** `excess`: shillings paid beyond the requested amount. PayHero's own reference is absent. */
function webhookBody(payment: Payment, { code, text }: MpesaResult, excess: number): string {
  const isPaid = code === 0;
  return JSON.stringify({
    forward_url: "",
    response: {
      Amount: payment.amount + excess,
      CheckoutRequestID: payment.checkoutRequestId,
      ExternalReference: payment.externalReference,
      MerchantRequestID: payment.merchantRequestId,
      MpesaReceiptNumber: payment.receipt,
      Phone: `+${payment.msisdn}`,
      ResultCode: code,
      ResultDesc: text,
      Status: isPaid ? "Success" : "Failed",
    },
    status: isPaid,
  });
}

/** PayHero's reply to a query has no amount, no reason, and an empty CheckoutRequestID. */
function queryReply({ result, reference, receipt: given, askedAt }: Payment): object {
  const settled = result?.code === 0 ? "SUCCESS" : "FAILED";
  return {
    transaction_date: askedAt.toISOString(),
    provider: "m-pesa",
    success: true,
    merchant: "Sandbox Merchant",
    payment_reference: "",
    third_party_reference: given,
    status: result ? settled : "QUEUED",
    reference,
    CheckoutRequestID: "",
    provider_reference: given,
  };
}
