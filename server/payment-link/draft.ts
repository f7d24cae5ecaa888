/** Reads a merchant's request for a payment link, as far as it can be checked before a payer chooses a provider. */
import { z } from "zod";
import { fieldError, type HubError } from "../errors.ts";
import { orderIdForm, orderIdText } from "../order-id.ts";
import { orNull, paymentBody, readAmount, readCustomer, requireSum } from "../payment/start.ts";
import { type Provider, requireProvider } from "../provider/provider.ts";
import { parseInput, timeText } from "../validation.ts";
import type { LinkDraft } from "./create.ts";

/** 48, because the orders of a reusable link have its order id, a hyphen and a number. */
const orderIdLengthMax = 48;

const { amountMinor, currency, description, customer, items, lang, metadata, returnUrl } = paymentBody.shape;

export const linkBody = z
  .strictObject({
    orderId: orderIdText
      .max(orderIdLengthMax, `must have at most ${orderIdLengthMax} characters`)
      .describe(
        `The id of the order that the link opens, unique among orders and links. At most ${orderIdLengthMax} characters. ${orderIdForm}`,
      ),
    amountMinor: orNull(amountMinor).describe(
      "In the currency's minor unit. Required, unless the link is reusable: then the payer enters the amount.",
    ),
    currency,
    description: description.describe("What the payer pays for. The page shows it."),
    items: items.describe("What the order is for; their sum is `amountMinor`. The page shows them."),
    customer: customer.describe("Visible with the API key only; the page does not show it."),
    providers: orNull(z.array(z.string()).min(1).max(20)).describe(
      "The providers that the page offers. By default all that take the currency and the amount.",
    ),
    returnUrl: orNull(returnUrl.unwrap()).describe("Your page, to which the page has a link once the order is paid."),
    expiresAt: orNull(timeText).describe("When the link expires. By default it does not."),
    dueAt: orNull(timeText).describe("When the money is due, for your own use."),
    lang: lang.describe("The language of the page. By default that of the payer's browser."),
    metadata,
    reusable: orNull(z.strictObject({ minMinor: amountMinor.optional(), maxMinor: amountMinor.optional() })).describe(
      "The link takes many payments. Each opens an order of its own, `<orderId>-<n>`. `minMinor` and `maxMinor` limit the amount that the payer enters.",
    ),
  })
  .meta({ id: "PaymentLinkRequest" });

/** Throws the errors that `POST /v1/payment-links` answers. */
export function readLinkDraft(value: unknown, providers: ReadonlyMap<string, Provider>): LinkDraft {
  const body = parseInput(linkBody, value);
  requireTimes(body);
  requireAmount(body);
  const [first] = providersOf(body, providers);
  const payer = body.customer && first ? readCustomer(body.customer, first, body.currency) : body.customer;
  return { ...body, customer: payer };
}

type LinkBody = z.infer<typeof linkBody>;

function requireTimes({ expiresAt }: LinkBody): void {
  if (expiresAt && expiresAt.getTime() <= Date.now()) throw fieldError("body_invalid", "expiresAt", "is in the past");
}

function requireAmount({ amountMinor, items, reusable }: LinkBody): void {
  if (amountMinor === undefined) {
    if (!reusable) throw fieldError("amount_invalid", "amountMinor", "is required, unless the link is reusable");
    if (items) throw fieldError("body_invalid", "items", "need an amountMinor");
  } else {
    requireSum(items, BigInt(amountMinor));
  }
  const { minMinor, maxMinor } = reusable ?? {};
  if (amountMinor !== undefined && (minMinor ?? maxMinor) !== undefined) {
    throw fieldError("body_invalid", "reusable", "limits an amount that the payer enters, and amountMinor fixes it");
  }
  if (minMinor !== undefined && maxMinor !== undefined && minMinor > maxMinor) {
    throw fieldError("body_invalid", "reusable.maxMinor", "is less than minMinor");
  }
}

/** The providers of the page: those of the request, or all that fit. Throws if one of the request does not fit, or none fits. */
export function providersOf(
  body: Money & { providers?: readonly string[] | undefined },
  enabled: ReadonlyMap<string, Provider>,
): Provider[] {
  if (body.providers) {
    const chosen = body.providers.map((name) => requireProvider(enabled, name));
    for (const provider of chosen) requireFit(provider, body);
    return chosen;
  }
  const ofCurrency = [...enabled.values()].filter(({ currencies }) => currencies.includes(body.currency));
  if (ofCurrency.length === 0) throw fieldError("currency_invalid", "currency", "no enabled provider takes it");
  const fitting = ofCurrency.filter((provider) => !faultOf(provider, body));
  if (fitting.length === 0 && ofCurrency[0]) requireFit(ofCurrency[0], body);
  return fitting;
}

interface Money {
  amountMinor?: number | undefined;
  currency: string;
  /** The field of the request that has the amount, dotted. Default: `amountMinor`. */
  amountField?: string;
}

function requireFit(provider: Provider, money: Money): void {
  if (!provider.currencies.includes(money.currency)) {
    throw fieldError("currency_invalid", "currency", `${provider.name} takes ${provider.currencies.join(", ")}`);
  }
  if (money.amountMinor !== undefined) readAmount(money.amountMinor, provider, money.amountField);
}

function faultOf(provider: Provider, money: Money): HubError | undefined {
  try {
    requireFit(provider, money);
    return undefined;
  } catch (error) {
    return error as HubError;
  }
}

/** Whether the provider can take a payment of a link. */
export const isFitting = (provider: Provider, money: Money): boolean => faultOf(provider, money) === undefined;
