/**
 * The sandbox of Lipana: push, status, list, and the signed webhook after the payer's answer. Shapes and texts are from
 * Lipana's SDK and from public integrations, so the real adapter runs against it unchanged. Mount at `/sandbox/lipana`.
 *
 * Public integrations have two shapes of webhook, and it is not known which one Lipana sends. Successes alternate between
 * shape A, without a receipt, and shape B, with one. Failures have shape B, because shape A has no reason.
 *
 * All test numbers work. With 11 the webhook names a transaction that the node does not know, and stays parked until the node
 * reads the list. 20 (busy phone) waits for a person like 00, because Lipana's answer is not known. The list accepts no
 * dates. In memory: a restart removes all pushes.
 */
import { createHmac, randomInt, randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { Fault, handleFaults } from "../../sandbox/fault.ts";
import { type PayerAnswer, type PromptRequest, scenarioOf } from "../../sandbox/phone.ts";
import { createScenarioRunner, type WebhookMessage } from "../../sandbox/scenario.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../sandbox/server.ts";

const account = (secretOf: (variable: string) => string) => ({
  SECRET_KEY: `lip_sk_test_${secretOf("SECRET_KEY")}`,
  WEBHOOK_SECRET: secretOf("WEBHOOK_SECRET"),
});

export const lipanaSandbox = { account, serve } as const satisfies Sandbox;

/** The end of a push: Lipana's status, and M-Pesa's code and text, which only a webhook of shape B contains. */
interface Result {
  status: "success" | "failed" | "cancelled";
  code: number;
  text: string;
}

const results: Record<PayerAnswer, Result> = {
  approve: { status: "success", code: 0, text: "The service request is processed successfully." },
  cancel: { status: "cancelled", code: 1032, text: "Request cancelled by user" },
  wrong_pin: { status: "failed", code: 2001, text: "The initiator information is invalid." },
  insufficient_funds: { status: "failed", code: 1, text: "The balance is insufficient for the transaction." },
  ignore: { status: "failed", code: 1037, text: "No response from user." },
};

/** A transaction in status and list. Keys without a value are absent. */
interface Transaction {
  id: string;
  transactionId: string;
  /** Whole shillings: the requested amount, and after the payer's answer the paid one. */
  amount: number;
  phone: string;
  status: "pending" | Result["status"];
  type: "stk_push";
  mpesaReceiptNumber?: string;
  checkoutRequestID: string;
  accountReference?: string | undefined;
  transactionDesc?: string | undefined;
  createdAt: string;
  updatedAt: string;
}

const pushBody = z.object({
  phone: z.string().regex(/^\+254(7|1)\d{8}$/, "must be like +254712345678"),
  amount: z.number().int().min(10).max(150_000),
  accountReference: z.string().optional(),
  transactionDesc: z.string().optional(),
});

const listQuery = z.object({
  page: z.coerce.number().int().min(1).default(1),
  limit: z.coerce.number().int().min(1).max(100).default(10),
  status: z.string().optional(),
});

/** An error in Lipana's format. The codes are from the SDK, where it has one. */
const fault = (status: number, code: string, message: string, errors?: object): Fault =>
  new Fault(status, { success: false, message, code, ...(errors && { errors }) });

/** 10,000; a further push removes the oldest one (G12). */
const pushesMax = 10_000;

function serve(app: FastifyInstance, context: SandboxContext<ReturnType<typeof account>>): IsMerchant {
  const { account, webhookUrl, now = () => new Date() } = context;
  const transactions = new Map<string, Transaction>();
  const runScenario = createScenarioRunner(app, context);
  let successes = 0;
  const isMerchant: IsMerchant = ({ headers }) => isSame(String(headers["x-api-key"] ?? ""), account.SECRET_KEY);
  configureLipanaHttp(app, isMerchant);

  const remember = (body: z.infer<typeof pushBody>): Transaction => {
    const [oldest] = transactions.keys();
    if (oldest !== undefined && transactions.size >= pushesMax) transactions.delete(oldest);
    const at = now().toISOString();
    const transaction: Transaction = {
      id: randomUUID(),
      transactionId: `TXN${capitals(12)}`,
      amount: body.amount,
      phone: body.phone,
      status: "pending",
      type: "stk_push",
      checkoutRequestID: `ws_CO_${at.replace(/\D/g, "").slice(0, 14)}${body.phone.slice(-9)}`,
      accountReference: body.accountReference,
      transactionDesc: body.transactionDesc,
      createdAt: at,
      updatedAt: at,
    };
    transactions.set(transaction.transactionId, transaction);
    return transaction;
  };

  const settle = (transaction: Transaction, result: Result, paysWrongAmount: boolean): WebhookMessage => {
    transaction.status = result.status;
    transaction.updatedAt = now().toISOString();
    if (result.code === 0) {
      transaction.mpesaReceiptNumber = capitals(10);
      if (paysWrongAmount) transaction.amount += 1;
      successes += 1;
    }
    const message = result.code === 0 && successes % 2 === 0 ? shapeA(transaction) : shapeB(transaction, result);
    const body = JSON.stringify(message);
    return { url: webhookUrl().href, headers: { "x-lipana-signature": sign(body, account.WEBHOOK_SECRET) }, body };
  };

  app.post("/transactions/push-stk", async (request, reply) => {
    const body = parse(pushBody, request.body);
    if (scenarioOf(body.phone).isDown) throw fault(503, "SERVICE_UNAVAILABLE", "Service temporarily unavailable");
    const transaction = remember(body);
    await runScenario({
      prompt: promptOf(body),
      reply,
      settle: (answer, { paysWrongAmount = false }) => settle(transaction, results[answer], paysWrongAmount),
    });
    return acceptance(transaction);
  });

  app.get<{ Params: { id: string } }>("/transactions/:id", async ({ params: { id } }) => {
    // It is not documented which of the two ids the URL takes.
    const found = transactions.get(id) ?? [...transactions.values()].find((transaction) => transaction.id === id);
    if (!found) throw fault(404, "NOT_FOUND", "Transaction not found");
    return found;
  });

  app.get("/transactions", async (request) => {
    const { page, limit, status } = parse(listQuery, request.query);
    const all = [...transactions.values()].filter((one) => status === undefined || one.status === status).reverse();
    const pages = Math.ceil(all.length / limit);
    const found = all.slice((page - 1) * limit, page * limit);
    return { transactions: found, pagination: { page, limit, total: all.length, pages } };
  });
  return isMerchant;
}

/** The account reference names the payment, but not to a person. */
function promptOf({ phone, amount, accountReference, transactionDesc }: z.infer<typeof pushBody>): PromptRequest {
  const clue = accountReference === undefined ? undefined : { provider: "lipana", ownReference: accountReference };
  return { provider: "lipana", phone, amountMinor: amount * 100, currency: "KES", description: transactionDesc, clue };
}

/** Sets up errors as at Lipana, and requires the API key on each request. */
function configureLipanaHttp(app: FastifyInstance, isMerchant: IsMerchant): void {
  handleFaults(app, {
    notFound: () => fault(404, "NOT_FOUND", "Not found"),
    internal: () => fault(500, "INTERNAL_ERROR", "Internal server error"),
    unreadable: () => fault(400, "VALIDATION_ERROR", "Validation failed"),
  });
  app.addHook("onRequest", async (request) => {
    if (!isMerchant(request)) throw fault(401, "AUTHENTICATION_FAILED", "Invalid API key");
  });
}

/** Parses a body or a query string. The error names each invalid field; the form of `errors` is invented. */
function parse<T extends z.ZodType>(schema: T, value: unknown): z.infer<T> {
  const parsed = schema.safeParse(value ?? {});
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map(({ path, message }) => ({ field: path.join("."), message }));
  throw fault(400, "VALIDATION_ERROR", "Validation failed", errors);
}

const acceptance = ({ transactionId, checkoutRequestID }: Transaction): object => ({
  success: true,
  message: "STK push initiated",
  data: { transactionId, status: "pending", checkoutRequestID, message: "STK push sent to the customer's phone" },
});

const shapeA = ({ transactionId, amount, status, phone, updatedAt: timestamp }: Transaction): object => ({
  event: `payment.${status}`,
  data: { transactionId, amount, currency: "KES", status, phone, timestamp },
});

const shapeB = (transaction: Transaction, { code, text }: Result): object => ({
  event: code === 0 ? "transaction.success" : "transaction.failed",
  transaction_id: transaction.transactionId,
  phone: transaction.phone,
  amount: transaction.amount,
  reference: transaction.accountReference,
  checkout_request_id: transaction.checkoutRequestID,
  mpesa_receipt_number: transaction.mpesaReceiptNumber ?? null,
  result_code: code,
  result_desc: text,
});

/** Signs the bytes that are sent. */
const sign = (body: string, secret: string): string => createHmac("sha256", secret).update(body).digest("hex");

/** Capital letters and digits, like SAE3YULR0Y. */
const capitals = (length: number): string =>
  Array.from({ length }, () => randomInt(36).toString(36).toUpperCase()).join("");
