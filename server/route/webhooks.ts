/**
 * The routes that take webhooks. A 2xx means that the webhook is on disk (G1). The URL's secret is checked before the body is
 * read and without PostgreSQL. The number and size of the bodies that are being read are limited (G12).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { UrlSecrets } from "../auth/keys.ts";
import { HubError, notReady } from "../errors.ts";
import type { Provider, Webhook } from "../provider/provider.ts";
import { addressKey, limited } from "../rate-limit.ts";
import { type Described, described, openedBy } from "../schema/route.ts";
import type { Received } from "../webhook/incoming.ts";
import type { Receiver } from "../webhook/receive.ts";

export interface WebhookRoutesOptions {
  providers: ReadonlyMap<string, Provider>;
  secrets: UrlSecrets;
  receiver: Pick<Receiver, "receive">;
  /** Whether the nodes that serve may accept a secret that this node does not. */
  isBlocked: () => boolean;
  /** Called with every webhook of an enabled provider, when its answer is ready. */
  onWebhook?: (webhook: HandledWebhook) => void;
}

export interface HandledWebhook extends Omit<Received, "refusal"> {
  provider: string;
  tookMs: number;
}

/** 64 KiB, because providers send a few hundred bytes, and a client must not make the node read more without limit. */
const bodyLimit = 65_536;

/**
 * Bodies that are being read at once for one payment, or from one address without a valid secret. Each may hold 64 KiB for up
 * to 15 s. 256, because an honest body arrives with its request, so even a proxy that is not trusted needs no more.
 */
const unreadMax = 256;

declare module "fastify" {
  interface FastifyRequest {
    /** How the webhook was handled. */
    received?: Omit<Received, "refusal">;
    /** The sender's content type, while the request has another for Fastify's parser. */
    contentType?: string;
    /** The payment whose secret is in the URL. */
    paymentId?: string | undefined;
  }
}

const answers = {
  200: {
    description: "The webhook is on disk. The body has the form that the provider expects; the example is Safaricom's.",
    example: { ResultCode: 0, ResultDesc: "Accepted" },
  },
};

const problems = [
  "webhook_unreadable",
  "webhook_rejected",
  "provider_unknown",
  "body_too_large",
  "rate_limited",
  "provider_unavailable",
  "internal",
  "not_ready",
  "store_unavailable",
] as const;

/** Source: Safaricom portal, M-Pesa Express, a callback of a payment. */
const daraja = {
  Body: {
    stkCallback: {
      MerchantRequestID: "29115-34620561-1",
      CheckoutRequestID: "ws_CO_191220191020363925",
      ResultCode: 0,
      ResultDesc: "The service request is processed successfully.",
      CallbackMetadata: {
        Item: [
          { Name: "Amount", Value: 150 },
          { Name: "MpesaReceiptNumber", Value: "NLJ7RT61SV" },
          { Name: "PhoneNumber", Value: 254_708_374_149 },
        ],
      },
    },
  },
};

const paymentWebhook = (method: "POST" | "PUT") =>
  described({
    operationId: method === "POST" ? "receiveWebhook" : "receivePutWebhook",
    tag: "Called by providers",
    summary: method === "POST" ? "One payment's webhook" : "One payment's webhook, from providers that PUT it",
    description:
      "The provider got this URL with the request for money; its secret is the proof. A payment's webhooks have a budget. Beyond it, repeats are acknowledged. Unreadable webhooks, and more than 8 different ones in 10 minutes (in an hour once the payment has ended), get 429 and are not stored; the node then checks the payment with the provider. A success that decides the payment is accepted whatever the count.",
    security: openedBy.everyone,
    examples: { daraja: { summary: "Safaricom: paid", value: daraja } },
    answers,
    problems,
  });

const accountWebhook = described({
  operationId: "receiveAccountWebhook",
  tag: "Called by providers",
  summary: "A provider's account-wide webhook",
  description:
    "Its signature is the proof. A provider that sends no account-wide webhooks, such as Safaricom, gets 401.",
  security: openedBy.everyone,
  examples: {},
  answers,
  problems,
});

interface Call {
  Params: { provider: string; secret?: string };
}

export function webhookRoutes(app: FastifyInstance, options: WebhookRoutesOptions): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit }, (_request, body, done) => done(null, body));
    scope.decorateRequest("received");
    scope.decorateRequest("contentType");
    scope.decorateRequest("paymentId");
    limitUnreadBodies(scope, options);
    acceptAnyContentType(scope);
    reportWebhooks(scope, options);

    const handler = async (request: FastifyRequest<Call>, reply: FastifyReply): Promise<FastifyReply> => {
      const { status, contentType, body } = (await receive(request, options)).acknowledgement;
      return reply.code(status).type(contentType).send(body);
    };
    const config = { cors: false, secure: false, isLimited: false } as const;
    const add = (method: "POST" | "PUT", url: string, description: Described): void => {
      scope.route<Call>({ method, url, config, ...description, handler });
      // Also with a slash at the end, because dashboards and libraries add one, and a webhook must not be lost for it.
      scope.route<Call>({ method, url: `${url}/`, config, handler });
    };
    add("POST", "/webhooks/:provider/:secret", paymentWebhook("POST"));
    add("PUT", "/webhooks/:provider/:secret", paymentWebhook("PUT"));
    add("POST", "/webhooks/:provider", accountWebhook);
  });
}

/** Opens the URL's secret, and refuses a webhook when too many bodies of its payment or address are being read. */
function limitUnreadBodies(scope: FastifyInstance, { providers, secrets }: WebhookRoutesOptions): void {
  /** Bodies that are being read, by payment or address. */
  const unread = new Map<string, number>();
  scope.addHook("onRequest", (request, _reply, done) => {
    const { provider, secret } = request.params as Call["Params"];
    const isAddressed = secret !== undefined && providers.has(provider);
    const paymentId = isAddressed ? secrets.open(provider, secret) : undefined;
    // By payment, so that unauthenticated clients do not use up the room of honest webhooks behind the same proxy.
    const key = paymentId ?? addressKey(request.ip);
    const count = unread.get(key) ?? 0;
    if (count >= unreadMax) return done(limited("Too many unread webhooks from this address", 1_000));
    unread.set(key, count + 1);
    // Emitted when the body has been read, or never will be.
    request.raw.once("close", () => {
      const left = (unread.get(key) ?? 1) - 1;
      if (left > 0) unread.set(key, left);
      else unread.delete(key);
    });
    request.paymentId = paymentId;
    done();
  });
}

/** Reads every body as bytes, because providers send empty and wrong content types. The adapter sees the sender's. */
function acceptAnyContentType(scope: FastifyInstance): void {
  scope.addHook("onRequest", (request, _reply, done) => {
    request.contentType = request.headers["content-type"] ?? "";
    request.headers["content-type"] = "application/octet-stream";
    done();
  });
  scope.addHook("preHandler", (request, _reply, done) => {
    request.headers["content-type"] = request.contentType;
    done();
  });
}

/** Logs and reports each webhook once, also one whose body is too large or cut off and never reaches the handler. */
function reportWebhooks(scope: FastifyInstance, { providers, onWebhook }: WebhookRoutesOptions): void {
  scope.addHook("onSend", (request, reply, _payload, done) => {
    const { provider } = request.params as Call["Params"];
    if (providers.has(provider)) {
      const webhook = { provider, ...(request.received ?? { proof: "none", result: "failed" }) } as const;
      onWebhook?.({ ...webhook, tookMs: reply.elapsedTime });
      const tookMs = Number(reply.elapsedTime.toFixed(2));
      request.log.info(
        { event: "webhook.received", req: request, status: reply.statusCode, ...webhook, tookMs },
        "Received a webhook",
      );
      request.isLogged = true;
    }
    done();
  });
}

/** Returns the provider whose acknowledgement to send. Throws the error to answer instead. */
async function receive(
  request: FastifyRequest<Call>,
  { providers, receiver, isBlocked }: WebhookRoutesOptions,
): Promise<Provider> {
  const { provider: name, secret } = request.params;
  const provider = providers.get(name);
  if (!provider) throw new HubError("provider_unknown");
  const { paymentId } = request;
  const webhook: Webhook = {
    headers: request.headers,
    body: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
    ...(paymentId !== undefined && { paymentId }),
  };
  const isForged = secret !== undefined && paymentId === undefined;
  // The provider repeats the webhook, and so may reach a node that accepts it.
  if (isForged && isBlocked()) throw notReady();
  const rejection = isForged ? new HubError("webhook_rejected") : undefined;
  const { refusal, ...received } = await receiver.receive(provider, webhook, rejection);
  request.received = received;
  if (refusal) throw refusal;
  return provider;
}
