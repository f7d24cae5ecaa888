/**
 * Starts the payment that a payer asks for on a link's page. A form that is sent twice starts one payment, also if that one has ended
 * meanwhile: its idempotency key names the browser and the payment before, which the form states. Without it, as in a program's request,
 * the payment before is the latest one.
 */
import { type ErrorCode, HubError } from "../errors.ts";
import { waitAtMost } from "../in-flight.ts";
import type { Language } from "../order/order.ts";
import { phoneOf, readAmount, type Started, type StartPayment } from "../payment/start.ts";
import type { Provider } from "../provider/provider.ts";
import { readAmountText } from "./amount-text.ts";
import type { PageState } from "./page-state.ts";
import type { Fault } from "./page-view.ts";
import type { LinkRow } from "./row.ts";

/** The fields that the payer sent. */
export type FormValues = Fault["values"];

export interface PageStartOptions {
  /** Reserves the id of a reusable link's next order. Undefined if all numbers that it looked at are taken. */
  reserveOrderId: (link: LinkRow) => Promise<string | undefined>;
  startPayment: StartPayment;
  /** Counts a payment of the page. Throws `rate_limited`. */
  admit: (provider: string, address: string) => Promise<void>;
  /** The most payments of one phone in an hour. */
  phoneMax: number;
}

export interface PageStart {
  values: FormValues;
  lang: Language;
  payer: string;
  address: string;
}

/** Refusals after which the page shows the state as it is now: another payer or another request was faster. */
const overtaken: ReadonlySet<ErrorCode> = new Set([
  "payment_in_progress",
  "order_paid",
  "order_in_review",
  "payment_link_closed",
  "idempotency_mismatch",
]);

/** A payment of another link, for the same instalment, is a fault: the page does not show it. */
const isOvertaken = ({ code, details }: HubError): boolean =>
  overtaken.has(code) && (code !== "payment_in_progress" || details.order !== undefined);

/** 3 s, because a payer without scripts then sees the link to the provider's page at once. */
const redirectMsMax = 3_000;

/** Starts a payment. Returns why it was not started; undefined if it was, or if the page's state is now another one. */
export async function startOnPage(
  options: PageStartOptions,
  state: PageState,
  start: PageStart,
): Promise<Fault | undefined> {
  const { values } = start;
  const provider = state.providers.find(({ name }) => name === values.provider);
  if (!provider) return { field: "provider", code: "provider_unknown", values };
  const amountMinor = amountOf(state, values);
  if (amountMinor === undefined) return { field: "amount", code: "amount_invalid", values };
  try {
    const { answered } = await open(options, state, { ...start, provider, amountMinor });
    if (provider.checkout && answered) await waitAtMost(redirectMsMax, answered);
    return undefined;
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    return isOvertaken(error) ? undefined : faultOf(error, state, values);
  }
}

function amountOf({ link }: PageState, { amount = "" }: FormValues): number | undefined {
  if (link.amount_minor !== null) return link.amount_minor;
  const entered = readAmountText(amount, link.currency);
  const isWithin =
    (entered ?? 0) >= (link.min_minor ?? 1) && (entered ?? 0) <= (link.max_minor ?? Number.MAX_SAFE_INTEGER);
  return isWithin ? entered : undefined;
}

function faultOf(error: HubError, { link }: PageState, values: FormValues): Fault {
  const { code, details } = error;
  const [path] = details.errors?.map((one) => one.path) ?? [];
  const fields: Partial<Record<string, Fault["field"]>> = {
    phone: "phone",
    provider: "provider",
    currency: "provider",
    ...(link.amount_minor === null && { amountMinor: "amount" }),
  };
  const field = fields[path ?? ""];
  return {
    ...(field && { field }),
    code,
    ...(details.retryAfterS !== undefined && { retryAfterS: details.retryAfterS }),
    values,
  };
}

type Opening = PageStart & { provider: Provider; amountMinor: number };

async function open(options: PageStartOptions, state: PageState, opening: Opening): Promise<Started> {
  const { link, order } = state;
  if (!link.is_reusable) return startWith(options, state, opening, link.order_id);
  // An attempt that failed is tried again, unless the payer has changed the amount.
  if (order && order.event.amountMinor === opening.amountMinor) {
    return startWith(options, state, opening, order.event.orderId);
  }
  // Before a number is reserved, which a mistake would use up.
  readAmount(opening.amountMinor, opening.provider);
  phoneOf(phoneIn(opening), opening.provider, link.currency);
  return openNext(options, state, opening);
}

/** The phone that the payer sent, for a provider that prompts one. */
const phoneIn = ({ provider, values: { phone } }: Opening): string | undefined =>
  provider.limits.phone && phone !== "" ? phone : undefined;

/** Each statement looks at a hundred numbers. */
const reservationsMax = 20;

async function openNext(options: PageStartOptions, state: PageState, opening: Opening): Promise<Started> {
  for (let reservation = 0; reservation < reservationsMax; reservation += 1) {
    const orderId = await options.reserveOrderId(state.link);
    if (orderId === undefined) continue;
    try {
      return await startWith(options, state, opening, orderId);
    } catch (error) {
      // Somebody took the id meanwhile.
      if (!(error instanceof HubError) || error.code !== "order_mismatch") throw error;
    }
  }
  throw new HubError("store_unavailable", "Too many order ids of the payment link are taken", { retryAfterS: 1 });
}

function startWith(
  { startPayment, admit, phoneMax }: PageStartOptions,
  { link, formKey }: PageState,
  opening: Opening,
  orderId: string,
): Promise<Started> {
  const { values, lang, payer, address, provider, amountMinor } = opening;
  const { key = "" } = values;
  const phone = phoneIn(opening);
  const body = {
    orderId,
    amountMinor,
    currency: link.currency,
    provider: provider.name,
    ...(phone !== undefined && { phone }),
    description: link.description,
    items: link.items,
    customer: link.customer,
    metadata: link.metadata,
    lang: link.lang ?? lang,
  };
  return startPayment(body, {
    idempotencyKey: `pay:${link.id}:${payer}:${/^[a-z0-9]{1,16}$/.test(key) ? key : formKey}`,
    link: { id: link.id, isReusable: link.is_reusable, payer, phoneMax },
    admit: () => admit(provider.name, address),
  });
}
