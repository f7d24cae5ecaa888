/**
 * The sandbox of ZenoPay: the request for money, the query, and the webhook, which is sent only for a paid order. The
 * successful messages are ZenoPay's. Only the format of its errors is documented, so their texts, and the answer about an
 * unknown order, are invented. Mount at `/sandbox/zenopay`.
 *
 * A query states FAILED or CANCELLED without a reason, so the test numbers 03 and 04 both end as declined. An unanswered
 * prompt stays PENDING, so 05 ends by its deadline. 20 is like 00 too, because ZenoPay's answer for a busy phone is not known. In
 * memory: a restart removes all orders.
 */
import { randomInt } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { Fault, handleFaults, parseEveryBodyAsJson } from "../../sandbox/fault.ts";
import { type PayerAnswer, type PromptRequest, scenarioOf } from "../../sandbox/phone.ts";
import { clueOf } from "../../sandbox/prompt-view.ts";
import { createScenarioRunner, type WebhookMessage } from "../../sandbox/scenario.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../sandbox/server.ts";

const account = (secretOf: (variable: string) => string) => ({ API_KEY: secretOf("API_KEY") });

export const zenopaySandbox = { account, serve, hidesNoAnswer: true } as const satisfies Sandbox;

const statuses: Record<PayerAnswer, string> = {
  approve: "COMPLETED",
  cancel: "CANCELLED",
  wrong_pin: "FAILED",
  insufficient_funds: "FAILED",
  ignore: "PENDING",
};

const requestBody = z.object({
  order_id: z.string().min(1).max(128),
  buyer_email: z.email(),
  buyer_name: z.string().min(1),
  buyer_phone: z.string().regex(/^0[67]\d{8}$/),
  amount: z.number().int().positive(),
  webhook_url: z.url({ protocol: /^https?$/ }).optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
});
type RequestBody = z.infer<typeof requestBody>;

interface Order extends RequestBody {
  created: string;
  /** ZenoPay's number of the order. */
  reference: string;
  status: string;
  /** The operator's receipt; null unless paid. */
  transid: string | null;
}

/** An error in ZenoPay's format. */
const fault = (status: number, message: string): Fault => new Fault(status, { status: "error", message });

/** 10,000; a further order removes the oldest one (G12), whose queries are then answered as unknown. */
const ordersMax = 10_000;

function serve(app: FastifyInstance, context: SandboxContext<ReturnType<typeof account>>): IsMerchant {
  const { account, isOwn, now = () => new Date() } = context;
  const orders = new Map<string, Order>();
  const runScenario = createScenarioRunner(app, context);
  const isMerchant: IsMerchant = ({ headers }) => isSame(String(headers["x-api-key"] ?? ""), account.API_KEY);
  configureZenopayHttp(app, isMerchant);

  const remember = (body: RequestBody): Order => {
    const [oldest] = orders.keys();
    if (oldest !== undefined && orders.size >= ordersMax) orders.delete(oldest);
    const reference = String(randomInt(10 ** 9, 10 ** 10));
    const order = { ...body, created: localTimestamp(now()), reference, status: "PENDING", transid: null };
    orders.set(order.order_id, order);
    return order;
  };

  app.post("/mobile_money_tanzania", async (request, reply) => {
    const body = parseFields(request.body);
    if (body.webhook_url !== undefined && !isOwn(body.webhook_url)) throw invalid("webhook_url");
    if (orders.has(body.order_id)) throw fault(400, "Order ID already exists");
    if (scenarioOf(body.buyer_phone).isDown) throw fault(503, "Service unavailable");
    const order = remember(body);
    await runScenario({
      prompt: promptOf(order),
      reply,
      settle(answer, { paysWrongAmount }) {
        order.status = statuses[answer];
        if (answer !== "approve") return undefined;
        order.transid = receipt();
        if (paysWrongAmount) order.amount += 1;
        return webhookOf(order, account.API_KEY);
      },
    });
    return {
      status: "success",
      resultcode: "000",
      message: "Request in progress. You will receive a callback shortly",
      order_id: order.order_id,
    };
  });

  app.get<{ Querystring: { order_id?: string } }>("/order-status", async ({ query }) => {
    if (!query.order_id) throw invalid("order_id");
    return queryReply(orders.get(query.order_id));
  });
  return isMerchant;
}

const promptOf = (order: Order): PromptRequest => ({
  provider: "zenopay",
  phone: msisdnOf(order, "+"),
  amountMinor: order.amount * 100,
  currency: "TZS",
  account: order.buyer_name,
  clue: clueOf(order.webhook_url),
});

/** Sets up errors and bodies as at ZenoPay. Without the API key every request gets 403, as an integrator reports. */
function configureZenopayHttp(app: FastifyInstance, isMerchant: IsMerchant): void {
  handleFaults(app, {
    notFound: () => fault(404, "Not found"),
    internal: () => fault(500, "Internal server error"),
  });
  app.addHook("onRequest", async (request) => {
    if (!isMerchant(request)) throw fault(403, "Invalid API key");
  });
  parseEveryBodyAsJson(app);
}

/** Parses a body. The error names the first invalid field, in the order of the documentation. */
function parseFields(body: unknown): RequestBody {
  const parsed = requestBody.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  throw invalid(String(parsed.error.issues[0]?.path[0] ?? "order_id"));
}

const invalid = (field: string): Fault => fault(400, `Missing or invalid ${field}`);

/** Has neither amount nor phone; its only proof is the merchant's API key. */
function webhookOf(order: Order, apiKey: string): WebhookMessage | undefined {
  const { order_id, status, reference, metadata, webhook_url } = order;
  if (webhook_url === undefined) return undefined;
  const body = { order_id, payment_status: status, reference, ...(metadata && { metadata }) };
  return { url: webhook_url, headers: { "x-api-key": apiKey }, body: JSON.stringify(body) };
}

/** `result` is about the query, not about the payment. The amount is text. */
function queryReply(order: Order | undefined): object {
  if (!order) return { reference: null, resultcode: "404", result: "FAIL", message: "Order not found", data: [] };
  const row = {
    order_id: order.order_id,
    creation_date: order.created,
    amount: String(order.amount),
    payment_status: order.status,
    transid: order.transid,
    channel: "MPESA-TZ",
    reference: order.reference,
    msisdn: msisdnOf(order, ""),
  };
  const message = "Order fetch successful";
  return { reference: order.reference, resultcode: "000", result: "SUCCESS", message, data: [row] };
}

const msisdnOf = ({ buyer_phone }: Order, prefix: "+" | ""): string => `${prefix}255${buyer_phone.slice(1)}`;

/** Eleven capital letters and digits, like CEJ3I3SETSN. */
const receipt = (): string => Array.from({ length: 11 }, () => randomInt(36).toString(36).toUpperCase()).join("");

/** Without a time zone. Tanzania is always three hours ahead of UTC. */
const localTimestamp = (at: Date): string =>
  new Date(at.getTime() + 3 * 3_600_000).toISOString().replace("T", " ").slice(0, 19);
