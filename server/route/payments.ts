/** `POST /v1/payments`: opens an order or tries it again. Committed before the provider is asked; answered without waiting for it. */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { type CountryCode, parsePhoneNumberFromString } from "libphonenumber-js/max";
import { z } from "zod";
import { fieldError, HubError } from "../errors.ts";
import { orderIdText, parseInput, storable, text } from "../input.ts";
import { type Limit, takeAll } from "../limit.ts";
import type { Access } from "../order/access.ts";
import type { Opened, OrderStore, PaymentDraft } from "../order/store.ts";
import type { WatchTokens } from "../order/token.ts";
import type { Initiator } from "../provider/initiate.ts";
import type { Provider } from "../provider/provider.ts";

export interface PaymentRoutesOptions {
  access: Access;
  providers: ReadonlyMap<string, Provider>;
  /** Whether a provider moves real money, and how long it has from asking to `expired`. */
  terms: (provider: string) => { live: boolean; deadlineS: number };
  store: OrderStore;
  tokens: WatchTokens;
  initiator: Initiator;
  /** Prompts are an annoyance weapon: initiations per phone and per order are limited. */
  limits: { phone: Limit; order: Limit };
}

const waitSMax = 15;
const metadataBytesMax = 8_192;

const isStorable = (value: unknown): boolean => {
  if (typeof value === "string") return storable(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, inner]) => storable(key) && isStorable(inner));
};

const metadata = z
  .record(z.string(), z.json())
  .refine((value) => Object.keys(value).length <= 50, "has more than 50 keys")
  .refine((value) => Buffer.byteLength(JSON.stringify(value)) <= metadataBytesMax, "is larger than 8 KiB")
  .refine(isStorable, "has characters that cannot be stored");

/** What starts a payment. */
export const paymentBody = z.strictObject({
  orderId: orderIdText,
  amountMinor: z
    .number("must be a whole number of minor units")
    .int("must be a whole number of minor units")
    .positive("must be more than 0"),
  currency: z.string().regex(/^[A-Z]{3}$/, "must be an ISO 4217 code such as KES"),
  provider: z.string(),
  phone: z.string().optional(),
  description: text(255).optional(),
  customer: z.strictObject({ name: text(255).optional(), email: z.email().max(254).optional() }).optional(),
  returnUrl: z
    .url({ protocol: /^https?$/, error: "must be an http or https URL" })
    .max(2_048)
    .refine(storable)
    .optional(),
  metadata: metadata.optional(),
});

export function paymentRoutes(app: FastifyInstance, options: PaymentRoutesOptions): void {
  const { access, store, tokens, initiator } = options;

  app.post("/v1/payments", async (request, reply) => {
    access.requireMerchant(request);
    const idempotencyKey = readIdempotencyKey(request.headers["idempotency-key"]);
    const draft = readDraft(request.body, options);
    const { event, payment } = await openWithin(
      { ...draft, ...(idempotencyKey !== undefined && { idempotencyKey }) },
      options,
    );
    const asked = payment && initiator.start(payment);
    if (!payment) reply.header("idempotency-replayed", "true");
    const waitS = readWait(request.headers.prefer);
    if (waitS > 0) reply.header("preference-applied", `wait=${waitS}`);
    const order = asked && waitS > 0 ? await afterAnswer(asked, waitS, event.id, store) : event;
    return reply.code(202).send({ order: order ?? event, ...(await tokens.issue(event)) });
  });
}

/**
 * Opens the order within the limits of its phone and its own. Only what is opened counts: what is refused, or was
 * opened before under the same idempotency key, is answered as it is however often it is asked for.
 */
async function openWithin(
  draft: PaymentDraft,
  { store, limits }: Pick<PaymentRoutesOptions, "store" | "limits">,
): Promise<Opened> {
  const { orderId, phone } = draft;
  const byPhone = phone === undefined ? [] : [[limits.phone, phone] as const];
  let giveBack: () => Promise<void>;
  try {
    giveBack = await takeAll([[limits.order, orderId], ...byPhone]);
  } catch (error) {
    const replayed = await store.replay(draft);
    if (replayed) return replayed;
    throw error;
  }
  try {
    const opened = await store.open(draft);
    if (!opened.payment) await giveBack();
    return opened;
  } catch (error) {
    await giveBack();
    throw error;
  }
}

/** The order's state once the provider has answered or `waitS` seconds are over. */
async function afterAnswer(asked: Promise<void>, waitS: number, id: string, store: OrderStore) {
  const gaveUp = new AbortController();
  const tooLong = wait(waitS * 1_000, undefined, { signal: gaveUp.signal }).catch(() => undefined);
  await Promise.race([asked, tooLong]);
  gaveUp.abort();
  // The payment is committed and asked for: not being able to look now must not make it seem otherwise.
  const [order] = await store.current([id]).catch(() => []);
  return order;
}

function readDraft(value: unknown, { providers, terms }: PaymentRoutesOptions): PaymentDraft {
  const { amountMinor, phone, metadata, customer, description, returnUrl, ...input } = parseInput(paymentBody, value);
  const provider = providers.get(input.provider);
  if (!provider)
    throw new HubError("provider_unknown", `provider: there is no ${JSON.stringify(input.provider.slice(0, 64))} here`);
  if (!provider.currencies.includes(input.currency)) {
    throw fieldError("currency_invalid", "currency", `${provider.name} takes ${provider.currencies.join(", ")}`);
  }
  return {
    ...input,
    ...terms(provider.name),
    amountMinor: readAmount(amountMinor, provider),
    ...readPhone(phone, provider),
    ...(description !== undefined && { description }),
    ...(customer && { customer }),
    ...(metadata && { metadata }),
    ...(returnUrl !== undefined && { returnUrl }),
  };
}

function readAmount(amountMinor: number, { name, limits }: Provider): bigint {
  const amount = BigInt(amountMinor);
  if (amount % limits.stepMinor !== 0n) {
    throw fieldError("amount_invalid", "amountMinor", `${name} takes multiples of ${limits.stepMinor} minor units`);
  }
  if (amount < limits.minMinor || amount > limits.maxMinor) {
    throw fieldError(
      "amount_invalid",
      "amountMinor",
      `${name} takes ${limits.minMinor} to ${limits.maxMinor} minor units`,
    );
  }
  return amount;
}

/** Reads any usual form, local ones in the provider's own country, into E.164. */
function readPhone(phone: string | undefined, { name, countries, limits }: Provider): { phone?: string } {
  if (phone === undefined) {
    if (limits.phone) throw fieldError("phone_invalid", "phone", `${name} needs a phone to prompt`);
    return {};
  }
  const found =
    phone.length > 32
      ? undefined
      : parsePhoneNumberFromString(phone, { defaultCountry: countries[0] as CountryCode, extract: false });
  if (!found?.isValid() || found.ext !== undefined || (limits.phone && !limits.phone.test(found.number))) {
    throw fieldError("phone_invalid", "phone", `is not a number that ${name} can prompt`);
  }
  return { phone: found.number };
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
