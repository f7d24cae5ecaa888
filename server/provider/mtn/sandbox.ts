/**
 * The sandbox of MTN MoMo Collections: tokens, requests to pay, their status, and the webhook after the payer's answer. Codes
 * and texts are from MTN's "Common Error" page; an answer whose body is not documented has none. Mount at `/sandbox/mtn`.
 *
 * Like MTN, it requires `Content-Length` on a POST without a body, answers 202 without a body, and answers the first query
 * about each request with "not found". Its webhook is a PUT without the reference, which MTN documents as possible; `reason`
 * is a word there and an object in the status. MTN has no code for a wrong PIN, so 04 ends like a refusal, and none for a
 * busy phone, so 20 is like 00. In memory: a restart removes all requests.
 */
import { randomBytes, randomInt } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { Fault, handleFaults } from "../../sandbox/fault.ts";
import { type PayerAnswer, type PromptRequest, scenarioOf } from "../../sandbox/phone.ts";
import { clueOf } from "../../sandbox/prompt-view.ts";
import { createScenarioRunner } from "../../sandbox/scenario.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../sandbox/server.ts";
import { formatMinor, minorDigits, parseMinor } from "../money.ts";
import { marketCurrencies } from "./market.ts";

/** MTN's own sandbox accepts EUR only; this one also accepts the currencies of MTN's countries. */
const currencies = ["EUR", ...marketCurrencies];

const targetEnvironment = "sandbox";

const account = (secretOf: (variable: string) => string) => ({
  SUBSCRIPTION_KEY: secretOf("SUBSCRIPTION_KEY"),
  // A UUID at MTN; its form does not matter here.
  API_USER: secretOf("API_USER"),
  API_KEY: secretOf("API_KEY"),
  TARGET_ENVIRONMENT: targetEnvironment,
  CURRENCY: currencies.join(","),
});

type MtnAccount = ReturnType<typeof account>;

export const mtnSandbox = { account, serve } as const satisfies Sandbox;

const failureReasons: Record<Exclude<PayerAnswer, "approve">, string> = {
  cancel: "APPROVAL_REJECTED",
  wrong_pin: "PAYMENT_NOT_APPROVED",
  insufficient_funds: "NOT_ENOUGH_FUNDS",
  ignore: "EXPIRED",
};

const requestBody = z.object({
  amount: z.string().regex(/^(0|[1-9]\d*)(\.\d{1,3})?$/),
  currency: z.string(),
  externalId: z.string().optional(),
  payer: z.object({ partyIdType: z.literal("MSISDN"), partyId: z.string().regex(/^[1-9]\d{7,14}$/) }),
  payerMessage: z.string().max(160).optional(),
  payeeNote: z.string().max(160).optional(),
});

const uuidV4 = z.uuidv4();

interface RequestToPay {
  body: z.infer<typeof requestBody>;
  status: "PENDING" | "SUCCESSFUL" | "FAILED";
  financialTransactionId?: string;
  reason?: string;
  /** False until the first query. */
  isVisible: boolean;
}

/** An error in MTN's format; without a code there is no body. */
const fault = (status: number, code?: string, message = ""): Fault =>
  new Fault(status, code === undefined ? undefined : { code, message });

/** 10,000; a further request removes the oldest one (G12), whose queries are then answered as unknown. */
const requestsMax = 10_000;

const tokenLifetimeS = 3_600;

/** 1,000; a further token removes the oldest one (G12). */
const tokensMax = 1_000;

function serve(app: FastifyInstance, context: SandboxContext<MtnAccount>): IsMerchant {
  const { account, isOwn, now = () => new Date() } = context;
  const requests = new Map<string, RequestToPay>();
  const runScenario = createScenarioRunner(app, context);
  handleFaults(app, {
    notFound: () => fault(404),
    internal: () => fault(500, "INTERNAL_PROCESSING_ERROR", "An internal error occurred."),
    unreadable: () => fault(400),
  });
  const isMerchant: IsMerchant = ({ headers }) =>
    isSame(String(headers["ocp-apim-subscription-key"] ?? ""), account.SUBSCRIPTION_KEY);
  app.addHook("onRequest", async (request) => {
    if (!isMerchant(request)) throw fault(401);
  });
  const requireToken = issueTokens(app, account, now);

  app.post("/collection/v1_0/requesttopay", async (request, reply) => {
    requireToken(request);
    const reference = readReference(request);
    const body = readBody(request);
    const { payer, currency } = body;
    const callbackUrl = request.headers["x-callback-url"];
    if (callbackUrl !== undefined && !isOwn(String(callbackUrl))) {
      const text = "Callback URL with different host name then configured for API User";
      throw fault(500, "INVALID_CALLBACK_URL_HOST", text);
    }
    if (requests.has(reference)) {
      throw fault(409, "RESOURCE_ALREADY_EXIST", "Duplicated reference id. Creation of resource failed.");
    }
    if (scenarioOf(payer.partyId).isDown) {
      throw fault(503, "SERVICE_UNAVAILABLE", "Service temporarily unavailable, try again later.");
    }
    const [oldest] = requests.keys();
    if (oldest !== undefined && requests.size >= requestsMax) requests.delete(oldest);
    const made: RequestToPay = { body, status: "PENDING", isVisible: false };
    requests.set(reference, made);
    const digits = minorDigits(currency);
    const amountMinor = parseMinor(body.amount, digits) ?? 0n;
    await runScenario({
      prompt: promptOf(body, { amountMinor: Number(amountMinor), callbackUrl }),
      reply,
      settle(answer, { paysWrongAmount }) {
        if (paysWrongAmount) made.body.amount = formatMinor(amountMinor + 10n ** BigInt(digits), digits);
        if (answer === "approve") {
          made.status = "SUCCESSFUL";
          made.financialTransactionId = String(randomInt(1_000_000_000, 10_000_000_000));
        } else {
          made.status = "FAILED";
          made.reason = failureReasons[answer];
        }
        if (callbackUrl === undefined) return undefined;
        return { method: "PUT", url: String(callbackUrl), body: JSON.stringify(resultOf(made, made.reason)) };
      },
    });
    return reply.code(202).send();
  });

  app.get<{ Params: { reference: string } }>("/collection/v1_0/requesttopay/:reference", async (request) => {
    requireToken(request);
    const made = requests.get(request.params.reference);
    if (!made?.isVisible) {
      if (made) made.isVisible = true;
      throw fault(404, "RESOURCE_NOT_FOUND", "Requested resource was not found.");
    }
    return resultOf(made, made.reason && { code: made.reason, message: "The request was not paid." });
  });
  return isMerchant;
}

/** Serves the token call; each token is valid until it expires. Returns a check that throws unless a request has one. */
function issueTokens(app: FastifyInstance, account: MtnAccount, now: () => Date): (request: FastifyRequest) => void {
  const basic = `Basic ${Buffer.from(`${account.API_USER}:${account.API_KEY}`).toString("base64")}`;
  const tokens = new Map<string, number>();

  const requireLength = async ({ headers }: FastifyRequest): Promise<void> => {
    if (headers["content-length"] === undefined) throw fault(411);
  };
  app.post("/collection/token/", { onRequest: requireLength }, async ({ headers }) => {
    if (!isSame(headers.authorization ?? "", basic)) throw fault(401);
    const [oldest] = tokens.keys();
    if (oldest !== undefined && tokens.size >= tokensMax) tokens.delete(oldest);
    const token = randomBytes(48).toString("base64url");
    tokens.set(`Bearer ${token}`, now().getTime() + tokenLifetimeS * 1_000);
    return { access_token: token, token_type: "access_token", expires_in: tokenLifetimeS };
  });

  return ({ headers }) => {
    if ((tokens.get(headers.authorization ?? "") ?? 0) <= now().getTime()) throw fault(401);
    if (headers["x-target-environment"] !== targetEnvironment) {
      throw fault(500, "NOT_ALLOWED_TARGET_ENVIRONMENT", "Access to target environment is forbidden.");
    }
  };
}

function readReference({ headers }: FastifyRequest): string {
  const { success, data } = uuidV4.safeParse(headers["x-reference-id"]);
  if (!success) throw fault(400);
  return data;
}

function readBody({ body }: FastifyRequest): z.infer<typeof requestBody> {
  const { success, data } = requestBody.safeParse(body);
  if (!success) throw fault(400);
  const { amount, currency } = data;
  if (!currencies.includes(currency)) {
    throw fault(500, "INVALID_CURRENCY", "Currency not supported.");
  }
  if (!parseMinor(amount, minorDigits(currency))) throw fault(400);
  return data;
}

function promptOf(
  { payer, currency, payerMessage, payeeNote }: z.infer<typeof requestBody>,
  { amountMinor, callbackUrl }: { amountMinor: number; callbackUrl: unknown },
): PromptRequest {
  const asked = { provider: "mtn", phone: `+${payer.partyId}`, amountMinor, currency };
  return { ...asked, account: payeeNote, description: payerMessage, clue: clueOf(callbackUrl?.toString()) };
}

/** The body of the status and of the webhook. */
const resultOf = ({ body, status, financialTransactionId }: RequestToPay, reason?: unknown): object => ({
  ...(financialTransactionId !== undefined && { financialTransactionId }),
  ...body,
  status,
  ...(reason !== undefined && { reason }),
});
