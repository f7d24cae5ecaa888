/**
 * ZenoPay as far as mobile money goes: the request, the query, and the webhook once the payer has paid, and only then.
 * Shapes, types and texts of what went well are ZenoPay's own. Of its errors only the envelope is documented, so their
 * texts, and what is answered about an order that it does not know, are made up. To be mounted at `/sandbox/zenopay`.
 *
 * All that a query knows of a failure is FAILED or CANCELLED, so of the test numbers 03 and 04 both end as declined; and
 * a prompt that nobody answers stays PENDING, so 05 ends like 00. 20 is like 00 too: no answer for a busy phone is
 * known. In memory: a restart forgets every order.
 */
import { randomInt } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { Fault, handleFaults, parseEveryBodyAsJson } from "../../sandbox/fault.ts";
import { type PayerAnswer, scenarioOf } from "../../sandbox/phone.ts";
import { createScenarioRunner, type WebhookMessage } from "../../sandbox/scenario.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../sandbox/server.ts";

const account = (secretOf: (variable: string) => string) => ({ API_KEY: secretOf("API_KEY") });

export const zenopaySandbox = { account, serve } as const satisfies Sandbox;

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
  /** ZenoPay's own number of the order. */
  reference: string;
  status: string;
  /** The operator's receipt, once paid. */
  transid: string | null;
}

/** An answer in ZenoPay's error envelope. */
const fault = (status: number, message: string): Fault => new Fault(status, { status: "error", message });

/** Older orders are forgotten: queries about them are answered like those about unknown ones. */
const ordersMax = 10_000;

function serve(app: FastifyInstance, context: SandboxContext<ReturnType<typeof account>>): IsMerchant {
  const { account, isOwn, now = () => new Date() } = context;
  const orders = new Map<string, Order>();
  const play = createScenarioRunner(app, context);
  const isMerchant: IsMerchant = ({ headers }) => isSame(String(headers["x-api-key"] ?? ""), account.API_KEY);
  speakZenopay(app, isMerchant);

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
    await play({
      prompt: { provider: "zenopay", phone: msisdnOf(order, "+"), amountMinor: order.amount * 100, currency: "TZS" },
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

/** The key comes first, whatever is asked for; 403 is what an integrator reports. Bodies are JSON whatever they are called. */
function speakZenopay(app: FastifyInstance, isMerchant: IsMerchant): void {
  handleFaults(app, {
    notFound: () => fault(404, "Not found"),
    internal: () => fault(500, "Internal server error"),
  });
  app.addHook("onRequest", async (request) => {
    if (!isMerchant(request)) throw fault(403, "Invalid API key");
  });
  parseEveryBodyAsJson(app);
}

/** Names the first field that is wrong, in the order of the documentation. */
function parseFields(body: unknown): RequestBody {
  const parsed = requestBody.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  throw invalid(String(parsed.error.issues[0]?.path[0] ?? "order_id"));
}

const invalid = (field: string): Fault => fault(400, `Missing or invalid ${field}`);

/** Neither amount nor phone, and the merchant's own key as all the proof there is. */
function webhookOf(order: Order, apiKey: string): WebhookMessage | undefined {
  const { order_id, status, reference, metadata, webhook_url } = order;
  if (webhook_url === undefined) return undefined;
  const body = { order_id, payment_status: status, reference, ...(metadata && { metadata }) };
  return { url: webhook_url, headers: { "x-api-key": apiKey }, body: JSON.stringify(body) };
}

/** `result` is about the lookup, not about the payment. The amount is text. */
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

/** Eleven capitals and digits, like CEJ3I3SETSN. */
const receipt = (): string => Array.from({ length: 11 }, () => randomInt(36).toString(36).toUpperCase()).join("");

/** Tells no zone; Tanzania is three hours ahead of UTC all year. */
const localTimestamp = (at: Date): string =>
  new Date(at.getTime() + 3 * 3_600_000).toISOString().replace("T", " ").slice(0, 19);
