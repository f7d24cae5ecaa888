/** Where providers post. A 2xx means: on disk, will not be lost. The secret in the URL is checked without the database. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HubError } from "../errors.ts";
import type { UrlSecrets } from "../order/secret.ts";
import type { Provider, Webhook } from "../provider/provider.ts";
import type { Received, Receiver } from "../provider/receive.ts";

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

interface Call {
  Params: { provider: string; secret?: string };
}

export function webhookRoutes(app: FastifyInstance, options: WebhookRoutesOptions): void {
  const { providers, secrets, receiver, onWebhook } = options;

  /** What became of each webhook. */
  const handled = new WeakMap<FastifyRequest, Omit<Received, "refusal">>();

  /** Throws what the provider is to be told when it is not "received". */
  const receive = async (request: FastifyRequest<Call>): Promise<Provider> => {
    const provider = providers.get(request.params.provider);
    if (!provider) throw new HubError("provider_unknown");
    const { secret } = request.params;
    const paymentId = secret === undefined ? undefined : secrets.open(provider.name, secret);
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
    handled.set(request, received);
    if (refusal) throw refusal;
    return provider;
  };

  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit }, (_request, body, done) => done(null, body));
    // Providers send empty and odd content types; the bytes are all that matters.
    const contentTypes = new WeakMap<FastifyRequest, string>();
    scope.addHook("onRequest", async (request) => {
      contentTypes.set(request, request.headers["content-type"] ?? "");
      request.headers["content-type"] = "application/octet-stream";
    });
    scope.addHook("preHandler", async (request) => {
      request.headers["content-type"] = contentTypes.get(request);
    });

    // Whatever became of it: a body that is too large or cut off never reaches the handler.
    scope.addHook("onSend", async (request, reply) => {
      const { provider } = request.params as Call["Params"];
      if (!providers.has(provider)) return;
      const webhook = { provider, ...(handled.get(request) ?? { proof: "none", result: "failed" }) } as const;
      onWebhook?.({ ...webhook, tookMs: reply.elapsedTime });
      request.log.info({ ...webhook, tookMs: Number(reply.elapsedTime.toFixed(2)) }, "webhook");
    });

    const handle = scope.route.bind(scope)<Call>;
    for (const { url, method } of [
      { url: "/webhooks/:provider/:secret", method: ["POST", "PUT"] },
      { url: "/webhooks/:provider", method: ["POST"] },
    ]) {
      handle({
        url,
        method,
        handler: async (request, reply) => {
          const { status, contentType, body } = (await receive(request)).acknowledgement;
          return reply.code(status).type(contentType).send(body);
        },
      });
    }
  });
}
