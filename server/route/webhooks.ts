/** Where providers post. A 2xx means: on disk, will not be lost. The secret in the URL is checked without the database. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { UrlSecrets } from "../auth/keys.ts";
import { HubError } from "../errors.ts";
import type { Provider, Webhook } from "../provider/provider.ts";
import { addressKey, limited } from "../rate-limit.ts";
import { described, openedBy } from "../schema/route.ts";
import type { Received, Receiver } from "../webhook/receive.ts";

export interface WebhookRoutesOptions {
  providers: ReadonlyMap<string, Provider>;
  secrets: UrlSecrets;
  receiver: Pick<Receiver, "receive">;
  /** Hears of every webhook of a known provider, when its answer is ready. */
  onWebhook?: (webhook: HandledWebhook) => void;
}

export interface HandledWebhook extends Omit<Received, "refusal"> {
  provider: string;
  tookMs: number;
}

/** Providers send a few hundred bytes; this leaves room and bounds what a stranger can make us read. */
const bodyLimit = 65_536;

/**
 * Bodies on their way at a time: about one payment by its secret, or else from one address. Each may hold 64 KiB until it is
 * given up after 15 s. An honest one arrives with its request, so even a proxy that is not trusted needs no more.
 */
const unreadMax = 256;

declare module "fastify" {
  interface FastifyRequest {
    /** What became of the webhook. */
    received?: Omit<Received, "refusal">;
    /** What its sender called it. */
    contentType?: string;
    /** The payment whose secret is in the address. */
    paymentId?: string | undefined;
  }
}

const answers = {
  200: {
    description: "On disk, matched or not. In the provider's own form; here as Safaricom wants it.",
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
  "store_unavailable",
] as const;

/** Safaricom portal, M-Pesa Express: a callback of a payment. */
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
    tag: "Webhooks",
    summary: method === "POST" ? "One payment's webhook" : "One payment's webhook, from providers that PUT it",
    description:
      "The URL was given to the provider when it was asked; the secret in it is the proof. One payment's webhooks have a budget: beyond it, what cannot be read, and more than 8 different messages in 10 minutes (an hour once the payment has ended), are answered 429 and not stored, and the provider is asked; repeats are acknowledged. A success that decides the payment is taken whatever the count.",
    security: openedBy.anybody,
    examples: { daraja: { summary: "Safaricom: paid", value: daraja } },
    answers,
    problems,
  });

const accountWebhook = described({
  operationId: "receiveAccountWebhook",
  tag: "Webhooks",
  summary: "A provider's account-wide webhook",
  description: "Believed by its signature. A provider that has none of these, such as Safaricom, is refused here.",
  security: openedBy.anybody,
  examples: {},
  answers,
  problems,
});

interface Call {
  Params: { provider: string; secret?: string };
}

export function webhookRoutes(app: FastifyInstance, options: WebhookRoutesOptions): void {
  const { providers, secrets, receiver, onWebhook } = options;
  /** Bodies on their way, by payment or address. */
  const unread = new Map<string, number>();

  /** Throws what the provider is to be told when it is not "received". */
  const receive = async (request: FastifyRequest<Call>): Promise<Provider> => {
    const provider = providers.get(request.params.provider);
    if (!provider) throw new HubError("provider_unknown");
    const { secret } = request.params;
    const { paymentId } = request;
    const webhook: Webhook = {
      headers: request.headers,
      body: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
      ...(paymentId !== undefined && { paymentId }),
    };
    const isForged = secret !== undefined && paymentId === undefined;
    const { refusal, ...received } = await receiver.receive(
      provider,
      webhook,
      isForged ? new HubError("webhook_rejected") : undefined,
    );
    request.received = received;
    if (refusal) throw refusal;
    return provider;
  };

  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit }, (_request, body, done) => done(null, body));
    scope.decorateRequest("received");
    scope.decorateRequest("contentType");
    scope.decorateRequest("paymentId");
    scope.addHook("onRequest", (request, _reply, done) => {
      const { provider, secret } = request.params as Call["Params"];
      const isAddressed = secret !== undefined && providers.has(provider);
      const paymentId = isAddressed ? secrets.open(provider, secret) : undefined;
      // Strangers must not use up the room of honest webhooks that come through the same proxy.
      const key = paymentId ?? addressKey(request.ip);
      const count = unread.get(key) ?? 0;
      if (count >= unreadMax) return done(limited("Too many unread webhooks from this address", 1_000));
      unread.set(key, count + 1);
      // When the body has been read, or never will be.
      request.raw.once("close", () => {
        const left = (unread.get(key) ?? 1) - 1;
        if (left > 0) unread.set(key, left);
        else unread.delete(key);
      });
      request.paymentId = paymentId;
      done();
    });
    // Providers send empty and odd content types; the bytes are all that matters.
    scope.addHook("onRequest", (request, _reply, done) => {
      request.contentType = request.headers["content-type"] ?? "";
      request.headers["content-type"] = "application/octet-stream";
      done();
    });
    scope.addHook("preHandler", (request, _reply, done) => {
      request.headers["content-type"] = request.contentType;
      done();
    });

    // Whatever became of it, and heard or not: a body that is too large or cut off never reaches the handler.
    scope.addHook("onSend", (request, reply, _payload, done) => {
      const { provider } = request.params as Call["Params"];
      if (providers.has(provider)) {
        const webhook = { provider, ...(request.received ?? { proof: "none", result: "failed" }) } as const;
        onWebhook?.({ ...webhook, tookMs: reply.elapsedTime });
        const tookMs = Number(reply.elapsedTime.toFixed(2));
        request.log.info({ req: request, status: reply.statusCode, ...webhook, tookMs }, "webhook");
        request.isLogged = true;
      }
      done();
    });

    const handler = async (request: FastifyRequest<Call>, reply: FastifyReply): Promise<FastifyReply> => {
      const { status, contentType, body } = (await receive(request)).acknowledgement;
      return reply.code(status).type(contentType).send(body);
    };
    const config = { cors: false, secure: false, isLimited: false } as const;
    scope.post<Call>("/webhooks/:provider/:secret", { config, ...paymentWebhook("POST") }, handler);
    scope.put<Call>("/webhooks/:provider/:secret", { config, ...paymentWebhook("PUT") }, handler);
    scope.post<Call>("/webhooks/:provider", { config, ...accountWebhook }, handler);
  });
}
