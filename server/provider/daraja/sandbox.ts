/**
 * The sandbox of Safaricom Daraja, M-Pesa Express: tokens, push, query, and the webhook after the payer's answer. Shapes,
 * types and texts are Safaricom's, so the real adapter runs against it unchanged. Mount at `/sandbox/daraja`.
 *
 * Unlike at Safaricom, one phone may have several open prompts, so that programs can run tests in parallel; the test number
 * 20 is the busy phone. The webhook is sent once, after the answer to the push, unless the scenario differs. In memory: a
 * restart removes all pushes.
 */
import { randomInt } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { type MpesaResult, mpesaResults, receipt } from "../../sandbox/mpesa.ts";
import { type PromptRequest, scenarioOf } from "../../sandbox/phone.ts";
import { clueOf } from "../../sandbox/prompt-view.ts";
import { createScenarioRunner } from "../../sandbox/scenario.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../sandbox/server.ts";
import { configureSafaricomHttp, fault, invalid, issueTokens, parseFields } from "./sandbox-gateway.ts";

/** 174379 is the shortcode of Safaricom's own sandbox (Safaricom portal, test data). */
const account = (secretOf: (variable: string) => string) => ({
  CONSUMER_KEY: secretOf("CONSUMER_KEY"),
  CONSUMER_SECRET: secretOf("CONSUMER_SECRET"),
  SHORTCODE: "174379",
  PASSKEY: secretOf("PASSKEY"),
});

type DarajaAccount = ReturnType<typeof account>;

export const darajaSandbox = { account, serve } as const satisfies Sandbox;

/** The texts of a query that differ from those of the webhook for the same code (observed by integrators). */
const queryTexts: ReadonlyMap<number, string> = new Map([[1037, "DS timeout user cannot be reached."]]);

interface Push {
  merchantRequestId: string;
  checkoutRequestId: string;
  msisdn: string;
  /** Whole shillings. */
  amount: number;
  callbackUrl: string;
  /** Absent for goods of a till, which have no account. */
  account?: string | undefined;
  description?: string | undefined;
  result?: MpesaResult;
  queries: number;
}

const numberOrText = (pattern: RegExp) =>
  z.union([z.string(), z.number()]).transform(String).pipe(z.string().regex(pattern));
const shortcode = numberOrText(/^\d{5,7}$/);
const msisdn = numberOrText(/^254(7|1)\d{8}$/);
const signed = { BusinessShortCode: shortcode, Password: z.string().min(1), Timestamp: z.string().regex(/^\d{14}$/) };

const pushBody = z.object({
  ...signed,
  TransactionType: z.enum(["CustomerPayBillOnline", "CustomerBuyGoodsOnline"]),
  Amount: numberOrText(/^[1-9]\d*$/)
    .transform(Number)
    .pipe(z.number().max(250_000)),
  PartyA: msisdn,
  PartyB: shortcode,
  PhoneNumber: msisdn,
  CallBackURL: z.url({ protocol: /^https?$/ }),
  AccountReference: z.string().min(1).max(12),
  TransactionDesc: z.string().max(13).optional(),
});

const queryBody = z.object({ ...signed, CheckoutRequestID: z.string().min(1) });

/** 10,000; a further push removes the oldest one (G12), whose queries are then answered as unknown. */
const pushesMax = 10_000;

function serve(app: FastifyInstance, context: SandboxContext<DarajaAccount>): IsMerchant {
  const { account, isOwn, now = () => new Date() } = context;
  const pushes = new Map<string, Push>();
  const runScenario = createScenarioRunner(app, context);
  configureSafaricomHttp(app);
  const { CONSUMER_KEY: consumerKey, CONSUMER_SECRET: consumerSecret } = account;
  const { requireToken, isMerchant } = issueTokens(app, { consumerKey, consumerSecret, now });

  const remember = (body: z.infer<typeof pushBody>): Push => {
    const [oldest] = pushes.keys();
    if (oldest !== undefined && pushes.size >= pushesMax) pushes.delete(oldest);
    const push: Push = {
      merchantRequestId: `${randomInt(10_000, 100_000)}-${randomInt(10_000_000, 100_000_000)}-1`,
      checkoutRequestId: `ws_CO_${nairobiTimestamp(now())}${randomInt(100_000, 1_000_000)}${body.PhoneNumber.slice(-9)}`,
      msisdn: body.PhoneNumber,
      amount: body.Amount,
      callbackUrl: body.CallBackURL,
      account: body.AccountReference,
      description: body.TransactionDesc,
      queries: 0,
    };
    pushes.set(push.checkoutRequestId, push);
    return push;
  };

  app.post("/mpesa/stkpush/v1/processrequest", async (request, reply) => {
    requireToken(request);
    const body = parseFields(pushBody, request.body);
    checkPassword(body, account);
    if (!isOwn(body.CallBackURL)) throw invalid("CallBackURL");
    const scenario = scenarioOf(body.PhoneNumber);
    if (scenario.isBusy) {
      const text = "Unable to lock subscriber, a transaction is already in process for the current subscriber";
      throw fault(500, "500.001.1001", text);
    }
    if (scenario.isDown) throw fault(503, "500.003.02", "System is busy. Please try again in few minutes.");
    const push = remember(body);
    await runScenario({
      prompt: promptOf(push),
      reply,
      settle(answer, { paysWrongAmount }) {
        push.result = mpesaResults[answer];
        const body = webhookBody(push, push.result, { paid: push.amount + (paysWrongAmount ? 1 : 0), at: now() });
        return { url: push.callbackUrl, headers: { "content-type": "application/json;charset=UTF-8" }, body };
      },
    });
    return acceptance(push);
  });

  app.post("/mpesa/stkpushquery/v1/query", async (request) => {
    requireToken(request);
    const body = parseFields(queryBody, request.body);
    checkPassword(body, account);
    const push = pushes.get(body.CheckoutRequestID);
    if (!push) throw invalid("CheckoutRequestID");
    return queryReply(push);
  });
  return isMerchant;
}

function promptOf({ msisdn, amount, account, description, callbackUrl }: Push): PromptRequest {
  const asked = { provider: "daraja", phone: `+${msisdn}`, amountMinor: amount * 100, currency: "KES" };
  return { ...asked, account, description, clue: clueOf(callbackUrl) };
}

interface Signed {
  BusinessShortCode: string;
  Password: string;
  Timestamp: string;
}

function checkPassword(body: Signed, account: DarajaAccount): void {
  if (body.BusinessShortCode !== account.SHORTCODE) throw fault(500, "500.001.1001", "Merchant does not exist");
  const password = Buffer.from(account.SHORTCODE + account.PASSKEY + body.Timestamp).toString("base64");
  if (!isSame(body.Password, password)) throw fault(500, "500.001.1001", "Wrong credentials");
}

const acceptance = ({ merchantRequestId, checkoutRequestId }: Push): object => ({
  MerchantRequestID: merchantRequestId,
  CheckoutRequestID: checkoutRequestId,
  ResponseCode: "0",
  ResponseDescription: "Success. Request accepted for processing",
  CustomerMessage: "Success. Request accepted for processing",
});

/** All values are strings. An open push has two answers, both observed by integrators, which alternate here. */
function queryReply(push: Push): object {
  const { result, merchantRequestId, checkoutRequestId } = push;
  push.queries += 1;
  if (!result && push.queries % 2 === 0) throw fault(500, "500.001.1001", "The transaction is being processed");
  return {
    ResponseCode: "0",
    ResponseDescription: "The service request has been accepted successfully",
    MerchantRequestID: merchantRequestId,
    CheckoutRequestID: checkoutRequestId,
    ResultCode: String(result?.code ?? 4999),
    ResultDesc: result ? (queryTexts.get(result.code) ?? result.text) : "The transaction is still under processing",
  };
}

/** Codes and metadata are numbers, the amount has decimals such as 150.00, and only a success has metadata. */
function webhookBody(push: Push, { code, text }: MpesaResult, { paid, at }: { paid: number; at: Date }): string {
  const items = [
    { Name: "Amount", Value: paid },
    { Name: "MpesaReceiptNumber", Value: receipt() },
    { Name: "Balance" },
    { Name: "TransactionDate", Value: Number(nairobiTimestamp(at)) },
    { Name: "PhoneNumber", Value: Number(push.msisdn) },
  ];
  const stkCallback = {
    MerchantRequestID: push.merchantRequestId,
    CheckoutRequestID: push.checkoutRequestId,
    ResultCode: code,
    ResultDesc: text,
    ...(code === 0 && { CallbackMetadata: { Item: items } }),
  };
  return JSON.stringify({ Body: { stkCallback } }).replace(/"Amount","Value":\d+/, "$&.00");
}

const nairobiTimestamp = (at: Date): string =>
  new Date(at.getTime() + 3 * 3_600_000).toISOString().replace(/\D/g, "").slice(0, 14);
