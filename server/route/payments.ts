/** `POST /v1/payments`: opens an order or tries it again. Committed before the provider is asked; answered without waiting for it. */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { fieldError } from "../errors.ts";
import type { OrderStore } from "../order/store.ts";
import type { StartPayment } from "../payment/start.ts";

export interface PaymentRoutesOptions {
  access: Access;
  startPayment: StartPayment;
  store: Pick<OrderStore, "current">;
  tokens: WatchTokens;
}

const waitSMax = 15;

export function paymentRoutes(
  app: FastifyInstance,
  { access, startPayment, store, tokens }: PaymentRoutesOptions,
): void {
  app.post("/v1/payments", async (request, reply) => {
    access.requireMerchant(request);
    const idempotencyKey = readIdempotencyKey(request.headers["idempotency-key"]);
    const { event, asked } = await startPayment(request.body, { idempotencyKey });
    if (!asked) reply.header("idempotency-replayed", "true");
    const waitS = readWait(request.headers.prefer);
    if (waitS > 0) reply.header("preference-applied", `wait=${waitS}`);
    const order = asked && waitS > 0 ? await afterAnswer(asked, waitS, event.id, store) : event;
    return reply.code(202).send({ order: order ?? event, ...tokens.issue(event) });
  });
}

/** The order's state once the provider has answered or `waitS` seconds are over. */
async function afterAnswer(asked: Promise<void>, waitS: number, id: string, store: PaymentRoutesOptions["store"]) {
  const gaveUp = new AbortController();
  const tooLong = wait(waitS * 1_000, undefined, { signal: gaveUp.signal }).catch(() => undefined);
  await Promise.race([asked, tooLong]);
  gaveUp.abort();
  // The payment is committed and asked for: not being able to look now must not make it seem otherwise.
  const [order] = await store.current([id]).catch(() => []);
  return order;
}

/** Quoted or bare, 1-255 characters. */
function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = /^"(.*)"$/.exec(String(header))?.[1] ?? String(header);
  if (key.length < 1 || key.length > 255) {
    throw fieldError("body_invalid", "Idempotency-Key", "must have 1 to 255 characters");
  }
  return key;
}

/** RFC 7240 `wait`, in seconds, at most 15; a preference that cannot be read is ignored. */
function readWait(header: string | string[] | undefined): number {
  const found = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?:$|[,;])/i.exec(String(header ?? ""));
  return Math.min(Number(found?.[1] ?? 0), waitSMax);
}
