/**
 * Starting a payment, for every route that may: what is wrong is refused before anything is stored, the order is committed
 * within its limits, and then the provider is asked in the background. Who may call is the route's business.
 */
import { type CountryCode, parsePhoneNumberFromString } from "libphonenumber-js/max";
import { z } from "zod";
import { fieldError, HubError } from "../errors.ts";
import type { PaymentDraft } from "../order/draft.ts";
import type { StatusEvent } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider } from "../provider/provider.ts";
import { orderIdText, parseInput, storable, text } from "../validation.ts";
import type { Initiator } from "./initiate.ts";

export interface StartOptions {
  providers: ReadonlyMap<string, Provider>;
  /** Whether a provider moves real money, and how long it has from asking to `expired` and to the first question. */
  terms: (provider: string) => { live: boolean; deadlineS: number; firstCheckS: number };
  store: Pick<OrderStore, "open">;
  initiator: Pick<Initiator, "start">;
}

/** What a route knows beside the body. */
export interface StartTerms {
  idempotencyKey?: string | undefined;
  /** From asking to `expired`, in seconds; the provider's own by default. */
  deadlineS?: number | undefined;
}

/** `asked` ends once the provider has answered; absent when an idempotency key was used again and nobody is asked. */
export interface Started {
  event: StatusEvent;
  asked?: Promise<void>;
}

/** Starts a payment as `paymentBody` describes it. Throws what `POST /v1/payments` answers. */
export type StartPayment = (body: unknown, terms?: StartTerms) => Promise<Started>;

const metadataBytesMax = 8_192;

const isStorable = (value: unknown): boolean => {
  if (typeof value === "string") return storable(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, inner]) => storable(key) && isStorable(inner));
};

/** It came as JSON, so its values are JSON. */
const metadata = z
  .record(z.string(), z.unknown())
  .refine((value) => Object.keys(value).length <= 50, "has more than 50 keys")
  .refine((value) => Buffer.byteLength(JSON.stringify(value)) <= metadataBytesMax, "is larger than 8 KiB")
  .refine(isStorable, "has characters that cannot be stored");

/** What starts a payment. */
export const paymentBody = z
  .strictObject({
    orderId: orderIdText.describe("Your name for the order, unique."),
    amountMinor: z
      .number("must be a whole number of minor units")
      .int("must be a whole number of minor units")
      .positive("must be more than 0")
      .describe("In the currency's minor unit. Daraja takes whole shillings: multiples of 100."),
    currency: z
      .string()
      .regex(/^[A-Z]{3}$/, "must be an ISO 4217 code such as KES")
      .describe("ISO 4217; one that the provider takes."),
    provider: z.string().describe("Who is to ask the payer."),
    phone: z
      .string()
      .refine(storable, "has characters that cannot be stored")
      .describe("Where the provider prompts a phone. E.164, or as dialled in the provider's own country.")
      .optional(),
    description: text(255).describe("Seen with the API key, and by the provider where it takes one.").optional(),
    customer: z
      .strictObject({ name: text(255).optional(), email: z.email().max(254).optional() })
      .describe("Seen with the API key only.")
      .optional(),
    returnUrl: z
      .url({ protocol: /^https?$/, error: "must be an http or https URL" })
      .max(2_048)
      .refine(storable)
      .describe("Where a provider that redirects the payer sends them in the end.")
      .optional(),
    metadata: metadata.describe("At most 50 keys and 8 KiB. Seen with the API key only.").optional(),
  })
  .meta({ id: "PaymentRequest" });

export function createStartPayment(options: StartOptions): StartPayment {
  return async (body, { idempotencyKey, deadlineS } = {}) => {
    const draft = {
      ...readDraft(body, options),
      ...(deadlineS !== undefined && { deadlineS }),
      ...(idempotencyKey !== undefined && { idempotencyKey }),
    };
    const { event, payment } = await options.store.open(draft);
    return { event, ...(payment && { asked: options.initiator.start(payment) }) };
  };
}

function readDraft(value: unknown, { providers, terms }: StartOptions): PaymentDraft {
  const { amountMinor, phone, ...input } = parseInput(paymentBody, value);
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
