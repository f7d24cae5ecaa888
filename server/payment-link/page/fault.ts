/** Why no payment was started, in the payer's words, and at which field it is shown. */

import { displayNameOf, durationOf, moneyOf } from "../../page/format.ts";
import { fillIn } from "../../page/language.ts";
import { readAmountText } from "../amount-text.ts";
import { exampleOf } from "../operator.ts";
import type { CheckoutView, Fault } from "../page-view.ts";
import { selectedOf } from "./choice.ts";
import type { Spoken } from "./language.ts";

export interface FaultText {
  /** Undefined above the form. */
  field: Fault["field"];
  text: string;
}

export function faultText(view: CheckoutView, spoken: Spoken): FaultText | undefined {
  const { fault } = view;
  if (!fault) return undefined;
  const { field } = fault;
  if (fault.code === "rate_limited") return { field, text: limitText(fault, spoken) };
  if (field === "phone") return { field, text: phoneText(view, spoken) };
  if (field === "amount") return { field, text: amountText(view, spoken) };
  if (field === "provider") {
    // A choice of one is not shown, and the provider that was sent may be disabled since.
    return { field: view.providers.length > 1 ? field : undefined, text: spoken.page.fault.provider };
  }
  return { field: undefined, text: generalText(view, spoken) };
}

function limitText({ field, retryAfterS }: Fault, spoken: Spoken): string {
  const { phoneLimit, limit, other } = spoken.page.fault;
  if (retryAfterS === undefined) return other;
  return fillIn(field === "phone" ? phoneLimit : limit, { time: durationOf(retryAfterS, spoken) });
}

function phoneText(view: CheckoutView, { page }: Spoken): string {
  const example = exampleOf(selectedOf(view)?.callingCode);
  const isMissing = !view.fault?.values.phone?.trim();
  return isMissing || example === undefined ? page.fault.phoneMissing : fillIn(page.fault.phone, { example });
}

function amountText(view: CheckoutView, { page }: Spoken): string {
  const { amount, amountMissing, amountWhole } = page.fault;
  const text = view.fault?.values.amount ?? "";
  if (text.trim() === "") return amountMissing;
  const entered = readAmountText(text, view.paymentLink.currency);
  const { stepMinor = 1 } = selectedOf(view)?.takes ?? {};
  return entered !== undefined && entered % stepMinor !== 0 ? amountWhole : amount;
}

function generalText({ fault }: CheckoutView, { page }: Spoken): string {
  const { inProgress, providerDown, other } = page.fault;
  if (fault?.code === "payment_in_progress") return inProgress;
  const provider = displayNameOf(fault?.values.provider);
  return fault?.code === "provider_unavailable" && provider ? fillIn(providerDown, { provider }) : other;
}

/** The amounts that the payer may enter, and after a wrong one also those that the provider takes. Undefined if any is allowed. */
export function rangeOf(view: CheckoutView, spoken: Spoken): string | undefined {
  const { currency, minMinor = 0, maxMinor = Number.POSITIVE_INFINITY } = view.paymentLink;
  const taken = view.fault?.field === "amount" ? selectedOf(view)?.takes : undefined;
  const range = [Math.max(minMinor, taken?.minMinor ?? 0), Math.min(maxMinor, taken?.maxMinor ?? maxMinor)];
  const [min, max] = range.map((minor) => minor > 0 && Number.isFinite(minor) && moneyOf(minor, currency, spoken));
  const { amountRange, amountMin, amountMax } = spoken.page;
  if (min && max) return fillIn(amountRange, { min, max });
  if (min) return fillIn(amountMin, { min });
  return max ? fillIn(amountMax, { max }) : undefined;
}
