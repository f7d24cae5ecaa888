/**
 * Starts payments, for every route that may: validates the request before anything is stored, commits the order within its
 * limits, and asks the provider for the money in the background. The routes authorise their callers.
 */
import { z } from "zod";
import { fieldError } from "../errors.ts";
import type { DraftLink, PaymentDraft } from "../order/draft.ts";
import { type Item, languages, type StatusEvent } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import { orderIdForm, orderIdText } from "../order-id.ts";
import { merchantNameOf, type Provider, requireProvider } from "../provider/provider.ts";
import { parseInput, storable, text } from "../validation.ts";
import type { Initiator } from "./initiate.ts";
import { missingPhone, readPhone } from "./phone.ts";

export interface StartOptions {
  providers: ReadonlyMap<string, Provider>;
  /**
   * Whether a provider moves real money, and the seconds from the request for money to `expired` and to the first query. In the
   * sandbox, the phone may decide.
   */
  terms: (
    provider: string,
    phone?: string,
  ) => { live: boolean; isSandbox: boolean; deadlineS: number; firstCheckS: number };
  store: Pick<OrderStore, "open">;
  initiator: Pick<Initiator, "start">;
}

/** The route's own terms, besides the body. */
export interface StartTerms {
  idempotencyKey?: string | undefined;
  /** The request that a repeated one with the same key is compared with. By default the body. */
  request?: object | undefined;
  /** The payment link that the payment pays. Its orders belong to it. */
  link?: DraftLink;
  /** Called with a valid request, before anything is stored. The payment is not started if it throws. */
  admit?: () => Promise<void>;
}

export interface Started {
  event: StatusEvent;
  /** Resolves once the provider has answered. Absent for a repeated idempotency key, which asks no provider. */
  answered?: Promise<void>;
}

/** Starts a payment from a `paymentBody`. Throws the errors that `POST /v1/payments` answers. */
export type StartPayment = (body: unknown, terms?: StartTerms) => Promise<Started>;

const metadataBytesMax = 8_192;

const isStorable = (value: unknown): boolean => {
  if (typeof value === "string") return storable(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, inner]) => storable(key) && isStorable(inner));
};

/** Its values are JSON, because the body is. */
const metadata = z
  .record(z.string(), z.unknown())
  .refine((value) => Object.keys(value).length <= 50, "has more than 50 keys")
  .refine((value) => Buffer.byteLength(JSON.stringify(value)) <= metadataBytesMax, "is larger than 8 KiB")
  .refine(isStorable, "has characters that cannot be stored");

const items = z
  .array(
    z.strictObject({
      name: text(255),
      quantity: z.int("must be a whole number").min(1, "must be from 1 to 1000").max(1_000, "must be from 1 to 1000"),
      unitAmountMinor: z
        .int("must be a whole number of minor units")
        .min(0, "must not be negative")
        .describe("The amount of one, in the currency's minor unit."),
      sku: text(100).describe("Your stock keeping unit.").exactOptional(),
    }),
  )
  .max(100, "has more than 100 items");

const phoneText = z.string().refine(storable, "has characters that cannot be stored");

const currencyFault = (value: unknown): string =>
  /^[a-z]{3}$/i.test(String(value)) ? "must be in capitals, such as KES" : "must be an ISO 4217 code such as KES";

/** Null counts as absent, because an order answers with null where a field has no value. */
export const orNull = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** The payer. */
export const customerBody = z
  .strictObject({
    id: text(255).describe("Your id for the payer.").optional(),
    name: text(255).optional(),
    email: z.email().max(254).optional(),
    phone: phoneText
      .describe("For messages to the payer. E.164, or as dialled in the provider's own country; masked in answers.")
      .optional(),
  })
  .describe("Visible with the API key only.");

/** The body of a request to start a payment. */
export const paymentBody = z
  .strictObject({
    orderId: orderIdText.describe(`Your name for the order, unique. ${orderIdForm}`),
    amountMinor: z
      .number("must be a whole number of minor units")
      .int("must be a whole number of minor units")
      .positive("must be more than 0")
      .describe("In the currency's minor unit. Daraja takes whole shillings: multiples of 100."),
    currency: z
      .string()
      .regex(/^[A-Z]{3}$/, { error: ({ input }) => currencyFault(input) })
      .describe("ISO 4217; a currency of the provider."),
    provider: z.string().describe("The provider that asks the payer."),
    phone: phoneText
      .describe(
        "For providers that prompt a phone. E.164, or as dialled in the provider's own country. Separators, invisible characters and the digits of other scripts are accepted; a number that can be read in two ways is not.",
      )
      .optional(),
    description: orNull(text(255).describe("Visible with the API key, and to providers that take a description.")),
    customer: orNull(customerBody),
    returnUrl: z
      .url({ protocol: /^https?$/, error: "must be an http or https URL" })
      .max(2_048)
      .refine(storable, "has characters that cannot be stored")
      .describe("The shop's page to which the payer returns from a provider's page.")
      .optional(),
    items: orNull(
      items.describe(
        "What the order is for; their sum is `amountMinor`. Fixed when the order opens: another attempt has the same items or none. Visible with the API key only.",
      ),
    ),
    lang: orNull(z.enum(languages).describe("The language of messages to the payer. Visible with the API key only.")),
    metadata: orNull(metadata.describe("At most 50 keys and 8 KiB. Visible with the API key only.")),
  })
  .meta({ id: "PaymentRequest" });

export function createStartPayment(options: StartOptions): StartPayment {
  return async (body, { idempotencyKey, request, link, admit } = {}) => {
    const draft = {
      ...readDraft(body, options),
      ...(idempotencyKey !== undefined && { idempotencyKey }),
      ...(link && { link }),
      request,
    };
    await admit?.();
    const { event, payment } = await options.store.open(draft);
    return { event, ...(payment && { answered: options.initiator.start(payment) }) };
  };
}

function readDraft(value: unknown, { providers, terms }: StartOptions): PaymentDraft {
  const { amountMinor, phone, customer, ...input } = parseInput(paymentBody, value);
  const provider = requireProvider(providers, input.provider);
  if (!provider.currencies.includes(input.currency)) {
    const currencies = provider.currencies.join(", ");
    throw fieldError("currency_invalid", "currency", `${merchantNameOf(provider.name)} takes ${currencies}`);
  }
  const amount = readAmount(amountMinor, provider);
  requireSum(input.items, amount);
  const read = phoneOf(phone, provider, input.currency);
  return {
    ...input,
    ...terms(provider.name, read.phone),
    amountMinor: amount,
    ...read,
    ...(customer && { customer: readCustomer(customer, provider, input.currency) }),
  };
}

/** Throws `amount_invalid` unless the items cost the amount. Computes in bigint, because a sum may be larger than 2^53. */
export function requireSum(items: readonly Item[] | undefined, amountMinor: bigint): void {
  if (!items) return;
  const sum = items.reduce((total, item) => total + BigInt(item.quantity) * BigInt(item.unitAmountMinor), 0n);
  if (sum !== amountMinor) {
    throw fieldError("amount_invalid", "items", `cost ${sum} minor units together, and the order ${amountMinor}`);
  }
}

/** Throws `amount_invalid`, naming the field, unless the provider takes the amount. */
export function readAmount(amountMinor: number, { name, limits }: Provider, field = "amountMinor"): bigint {
  const { stepMinor, minMinor, maxMinor } = limits;
  const amount = BigInt(amountMinor);
  if (amount % stepMinor !== 0n) {
    throw fieldError("amount_invalid", field, `${merchantNameOf(name)} takes multiples of ${stepMinor} minor units`);
  }
  if (amount < minMinor || amount > maxMinor) {
    const range = `${minMinor} to ${maxMinor} minor units`;
    throw fieldError("amount_invalid", field, `${merchantNameOf(name)} takes ${range}`);
  }
  return amount;
}

/** The phone in E.164, if the provider prompts one. Throws `phone_invalid` for a number that cannot be prompted or is missing. */
export function phoneOf(phone: string | undefined, provider: Provider, currency: string): { phone?: string } {
  if (phone !== undefined) return { phone: readPhone(phone, { provider, currency }) };
  if (provider.limits.phone) throw missingPhone(provider);
  return {};
}

export type Customer = z.infer<typeof customerBody>;

/** The provider need not be able to prompt the customer's phone. */
export function readCustomer({ phone, ...customer }: Customer, provider: Provider, currency: string): Customer {
  if (phone === undefined) return customer;
  const { phone: _, ...limits } = provider.limits;
  const terms = { provider: { ...provider, limits }, currency, field: "customer.phone" };
  return { ...customer, phone: readPhone(phone, terms) };
}
