/**
 * Where providers post. A 2xx means: on disk, will not be lost. The secret in the URL is checked without the database;
 * the bytes are kept by the same statement that acts on them, before the answer, matched or not.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HubError } from "../errors.ts";
import { messageOf } from "../log.ts";
import type { Inbox } from "../order/inbox.ts";
import type { UrlSecrets } from "../order/secret.ts";
import type { InboxRow, OrderStore } from "../order/store.ts";
import type { WebhookResult } from "../order/tables.ts";
import type { Claim, Provider, Webhook } from "../provider/provider.ts";

export interface WebhookRoutesOptions {
  providers: ReadonlyMap<string, Provider>;
  secrets: UrlSecrets;
  store: Pick<OrderStore, "advance" | "nudge" | "locate">;
  inbox: Pick<Inbox, "keep" | "refuse">;
  /** Applies webhooks that waited for this reference. */
  offerParked: (provider: string, reference: string) => Promise<void>;
  /** Visits an address of a provider's that makes it send webhooks here. */
  subscribe: (url: URL) => Promise<void>;
  /** Hears of every webhook of a known provider, when its answer is ready. */
  onWebhook?: (webhook: HandledWebhook) => void;
}

export interface HandledWebhook {
  provider: string;
  /** The payment it is about, where that is known. */
  paymentId?: string;
  proof: Claim["proof"];
  /** `failed`: not kept, and the provider is told so. */
  result: WebhookResult | "failed";
  tookMs: number;
}

/** Providers send a few hundred bytes; this leaves room and bounds what a stranger can make us read. */
const bodyLimit = 65_536;

interface Call {
  Params: { provider: string; secret?: string };
}

interface Found {
  paymentId?: string;
  /** It came to the payment's own address. */
  isAddressed: boolean;
}

export function webhookRoutes(app: FastifyInstance, options: WebhookRoutesOptions): void {
  const { providers, secrets, store, inbox, offerParked, subscribe, onWebhook } = options;

  const locate = async (provider: string, { reference }: Claim): Promise<string | undefined> =>
    reference === undefined ? undefined : store.locate(provider, reference);

  const record = async (row: InboxRow, claim: Claim, { paymentId, isAddressed }: Found): Promise<WebhookResult> => {
    const { reference, outcome, proof } = claim;
    const keep = async (result: "unmatched" | "nothing" | "hint"): Promise<WebhookResult> => {
      const names = { ...(paymentId !== undefined && { paymentId }), ...(reference !== undefined && { reference }) };
      await inbox.keep({ ...row, ...names, result, isAddressed });
      return result;
    };
    if (claim.subscribeUrl) {
      await keep("nothing");
      await subscribe(claim.subscribeUrl);
      return "nothing";
    }
    if (paymentId === undefined) {
      await keep("unmatched");
      // The reference may have become known while the bytes were being kept. They are, so failing now loses nothing.
      if (reference !== undefined && (await locate(row.provider, claim).catch(() => undefined)))
        await offerParked(row.provider, reference);
      return "unmatched";
    }
    if (proof === "none") return keep("hint");
    if (!outcome) return keep("nothing");
    try {
      return (await store.advance(paymentId, outcome, row)).result;
    } catch (error) {
      // Locked too long, deadlocked, or bytes that no column takes: kept all the same, to be offered again.
      await inbox.keep({
        ...row,
        result: "error",
        paymentId,
        error: messageOf(error instanceof HubError ? error.cause : error),
      });
      // Waits for the lock that the statement waited for, so the answer does not wait for it.
      store.nudge(paymentId).catch(() => undefined);
      return "error";
    }
  };

  /** What is known of each webhook so far. */
  const handled = new WeakMap<FastifyRequest, Omit<HandledWebhook, "provider" | "tookMs">>();

  const receive = async (request: FastifyRequest<Call>): Promise<Provider> => {
    const provider = providers.get(request.params.provider);
    if (!provider) throw new HubError("provider_unknown");
    const { secret } = request.params;
    let paymentId = secret === undefined ? undefined : secrets.open(provider.name, secret);
    const webhook: Webhook = {
      headers: request.headers,
      body: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
      ...(paymentId !== undefined && { paymentId }),
    };
    const row: InboxRow = {
      provider: provider.name,
      proof: paymentId === undefined ? "none" : "secret",
      headers: withoutCredentials(request.headers),
      body: webhook.body,
    };
    let { proof } = row;
    let result: HandledWebhook["result"] = "failed";
    try {
      const isAddressed = paymentId !== undefined;
      if (secret !== undefined && !isAddressed) throw new HubError("webhook_rejected");
      const claim = provider.translate(webhook);
      proof = claim.proof;
      paymentId = claim.paymentId ?? (await locate(provider.name, claim));
      result = await record({ ...row, proof }, claim, { ...(paymentId !== undefined && { paymentId }), isAddressed });
      return provider;
    } catch (error) {
      if (!(error instanceof HubError)) throw error;
      if (error.code === "webhook_rejected") {
        await inbox
          .refuse(row, error.message)
          .catch((cause: unknown) => request.log.warn({ err: cause }, "refused, not kept"));
        result = "refused";
      }
      if (error.code === "webhook_unreadable") {
        await inbox.keep({
          ...row,
          result: "unreadable",
          error: error.message,
          ...(paymentId !== undefined && { paymentId }),
        });
        result = "unreadable";
      }
      throw error;
    } finally {
      handled.set(request, { proof, result, ...(paymentId !== undefined && { paymentId }) });
    }
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

/** Header names that carry a credential at one provider or another. */
const credentialHeader = /authorization|cookie|key|token|secret|password|username/i;

const withoutCredentials = (headers: IncomingHttpHeaders): Record<string, unknown> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !credentialHeader.test(name)));
