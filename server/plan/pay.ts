/** Starts a payment of instalments without a page: a prompt on the customer's phone. */
import { z } from "zod";
import { fieldError } from "../errors.ts";
import { readOpened } from "../order/open.ts";
import type { StatusEvent } from "../order/order.ts";
import { run } from "../order/statement.ts";
import type { Started, StartPayment, StartTerms } from "../payment/start.ts";
import { orNull } from "../payment/start.ts";
import { isFitting } from "../payment-link/draft.ts";
import type { LinkRow } from "../payment-link/row.ts";
import { type Provider, requireProvider } from "../provider/provider.ts";
import { parseInput } from "../validation.ts";
import { readNow } from "./clock.ts";
import { type CoverOptions, linkUpTo } from "./cover.ts";
import { dayOf } from "./prompt-time.ts";
import { readPlan } from "./read.ts";

export const payBody = z
  .strictObject({
    n: orNull(z.int("must be a whole number").min(1, "must be at least 1").max(2_147_483_647)).describe(
      "Pays all open instalments up to this one, in one order. By default the oldest open one.",
    ),
    provider: orNull(z.string()).describe(
      "If the plan has none. By default the first one of `GET /v1/providers` that can prompt for the amount.",
    ),
  })
  .meta({ id: "PlanPaymentRequest" });

export interface PayOptions extends CoverOptions {
  startPayment: StartPayment;
}

/**
 * Prompts the customer now. Throws the errors of `linkUpTo` and of `POST /v1/payments`. A repeated key returns the order that it has opened,
 * whatever became due since.
 */
export async function payPlan(
  options: PayOptions,
  planId: string,
  { body, idempotencyKey }: { body: unknown; idempotencyKey?: string | undefined },
): Promise<{ event: StatusEvent; isReplayed: boolean }> {
  const { n, provider } = parseInput(payBody, body ?? {});
  const { pool } = options;
  const { id, time_zone: timeZone } = await readPlan(pool, planId);
  const request = { plan: id, n, provider };
  const opened = await readOpened(pool, idempotencyKey, request);
  if (opened) return { ...opened, isReplayed: true };
  const link = await linkUpTo(options, planId, n);
  const { event, answered } = await startByLink(options, link, provider, { idempotencyKey, request });
  if (answered) await run(pool, promptedStatement, [id, dayOf(await readNow(pool), timeZone)]);
  return { event, isReplayed: answered === undefined };
}

/** $1: the plan. $2: the day, whose own prompt is then left out. */
const promptedStatement = {
  name: "record-plan-prompt",
  text: "update plan set prompted_on = greatest(prompted_on, $2::date) where id = $1",
} as const;

interface LinkTerms extends Pick<StartTerms, "idempotencyKey" | "request"> {
  /** As those of a page. Absent: the merchant has asked for the payment. */
  page?: { payer: string; phoneMax?: number | undefined; admit: (provider: string) => Promise<void> };
}

/** Starts the payment of a plan's link. `chosen`: the provider, if the plan has none. */
export function startByLink(
  { providers, startPayment }: Pick<PayOptions, "providers" | "startPayment">,
  link: LinkRow,
  chosen: string | undefined,
  { page, ...terms }: LinkTerms,
): Promise<Started> {
  const provider = prompterOf(link, providers, chosen);
  const phone = phoneOf(link);
  if (phone === undefined)
    throw fieldError("phone_invalid", "customer.phone", "is missing: the plan's customer has none");
  const { order_id: orderId, amount_minor: amountMinor, currency, description, customer, metadata, lang } = link;
  const body = {
    orderId,
    amountMinor,
    currency,
    provider: provider.name,
    phone,
    description,
    customer,
    metadata,
    lang,
  };
  const { payer, phoneMax } = page ?? {};
  const own = {
    id: link.id,
    isReusable: false,
    ...(payer !== undefined && { payer }),
    ...(phoneMax !== undefined && { phoneMax }),
  };
  return startPayment(body, { ...terms, link: own, ...(page && { admit: () => page.admit(provider.name) }) });
}

/** The phone of the link's customer. */
const phoneOf = ({ customer }: LinkRow): string | undefined =>
  typeof customer?.phone === "string" ? customer.phone : undefined;

/** The provider that prompts for a link of a plan. Throws `provider_unknown` or `body_invalid`, naming `provider`. */
function prompterOf(link: LinkRow, enabled: ReadonlyMap<string, Provider>, chosen: string | undefined): Provider {
  const own = link.providers?.[0];
  if (own !== undefined && chosen !== undefined && chosen !== own) {
    throw fieldError("body_invalid", "provider", `is that of the plan: ${own}`);
  }
  const name = own ?? chosen;
  if (name !== undefined) {
    const provider = requireProvider(enabled, name);
    if (provider.limits.phone) return provider;
    throw fieldError("body_invalid", "provider", "prompts no phone: send the payer the address of the page");
  }
  const money = { currency: link.currency, ...(link.amount_minor !== null && { amountMinor: link.amount_minor }) };
  const fitting = [...enabled.values()].find((one) => one.limits.phone && isFitting(one, money));
  if (!fitting) throw fieldError("body_invalid", "provider", "no enabled provider can prompt for the amount");
  return fitting;
}
