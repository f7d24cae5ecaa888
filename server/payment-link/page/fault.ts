/** Why no payment was started, in the payer's words, and at which field it is shown. */

import { displayNameOf, durationOf, moneyOf } from "../../page/format.ts";
import { fillIn } from "../../page/language.ts";
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
  if (field === "amount") {
    const { amount, amountMissing } = spoken.page.fault;
    return { field, text: fault.values.amount?.trim() ? amount : amountMissing };
  }
  if (field === "provider") return { field, text: spoken.page.fault.provider };
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

function generalText({ fault }: CheckoutView, { page }: Spoken): string {
  const { inProgress, providerDown, other } = page.fault;
  if (fault?.code === "payment_in_progress") return inProgress;
  const provider = displayNameOf(fault?.values.provider);
  return fault?.code === "provider_unavailable" && provider ? fillIn(providerDown, { provider }) : other;
}

/** The amounts that the payer may enter. Undefined if any is allowed. */
export function rangeOf({ paymentLink }: CheckoutView, spoken: Spoken): string | undefined {
  const { currency, minMinor, maxMinor } = paymentLink;
  const [min, max] = [minMinor, maxMinor].map((minor) => minor !== undefined && moneyOf(minor, currency, spoken));
  const { amountRange, amountMin, amountMax } = spoken.page;
  if (min && max) return fillIn(amountRange, { min, max });
  if (min) return fillIn(amountMin, { min });
  return max ? fillIn(amountMax, { max }) : undefined;
}
