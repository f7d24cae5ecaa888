/** The provider that the form starts with, and what depends on it. */

import { displayNameOf } from "../../page/format.ts";
import { fillIn } from "../../page/language.ts";
import type { CheckoutView, ProviderChoice } from "../page-view.ts";
import type { Spoken } from "./language.ts";

/** The one that the payer chose before, else the one that the view selects, else the first. */
export function selectedOf({ providers, fault }: CheckoutView): ProviderChoice | undefined {
  const chosen = providers.find(({ name }) => name === fault?.values.provider);
  return chosen ?? providers.find(({ isSelected }) => isSelected) ?? providers[0];
}

/** The name in a sentence. */
export const nameOf = (provider: string, { sdk }: Spoken): string => displayNameOf(provider) ?? sdk.provider;

/** Says where the payer enters the PIN. */
export function trustOf({ takesPhone, name }: ProviderChoice, spoken: Spoken): string {
  const { trust, trustPage } = spoken.page;
  return takesPhone ? trust : fillIn(trustPage, { provider: nameOf(name, spoken) });
}

/** Says what happens next, in place of a number. Undefined for a provider that takes one. */
export const pageHintOf = ({ takesPhone, name }: ProviderChoice, spoken: Spoken): string | undefined =>
  takesPhone ? undefined : fillIn(spoken.page.pageHint, { provider: nameOf(name, spoken) });
