/** The items of the demo shop with their prices, and the ways to pay. The page sends an item, never a price. */
import { type CountryCode, getExampleNumber } from "libphonenumber-js/max";
import examples from "libphonenumber-js/mobile/examples";
import { displayNameOf, type Provider } from "../provider/provider.ts";

export const itemIds = ["tea", "coffee", "basket"] as const;

export type ItemId = (typeof itemIds)[number];

export interface Item {
  id: ItemId;
  name: string;
  /** By currency, in minor units. */
  prices: Readonly<Record<string, number>>;
  /** What the buyer receives, one of each kind that has a code. */
  result: { kind: "ticket" | "voucher"; title: string };
}

export const items: Readonly<Record<ItemId, Item>> = {
  tea: {
    id: "tea",
    name: "Spiced tea, 100\u00a0g",
    prices: { KES: 15_000, TZS: 300_000, BDT: 14_050, UGX: 4_200 },
    result: { kind: "ticket", title: "Pick-up ticket" },
  },
  coffee: {
    id: "coffee",
    name: "Coffee beans, 250\u00a0g",
    prices: { KES: 85_000, TZS: 1_700_000, BDT: 79_000, UGX: 24_000 },
    result: { kind: "voucher", title: "Voucher" },
  },
  basket: {
    id: "basket",
    name: "Woven basket",
    prices: { KES: 240_000, TZS: 4_800_000, BDT: 225_000, UGX: 68_000 },
    result: { kind: "ticket", title: "Pick-up ticket" },
  },
};

/** A way to pay, as the page shows it. */
export interface Choice {
  provider: string;
  /** The display name of the payment method. */
  title: string;
  /** The operator of the payment method, if its name differs from the title. */
  by?: string;
  /** ISO 3166-1 alpha-2. */
  country: string;
  currency: string;
  /** A number of the country in international form. Any other last five digits are valid too. */
  phoneExample: string;
  /** Whether the payer approves on the provider's own page, and no phone is required. */
  redirects: boolean;
}

/** The currency of a provider's payments in the shop; undefined if the items have no price in any of its currencies. */
export const currencyOf = ({ currencies }: Pick<Provider, "currencies">): string | undefined =>
  currencies.find((currency) => itemIds.every((id) => items[id].prices[currency] !== undefined));

/** The operators of the payment methods, by provider, where the name differs from the title. */
const carriers: Readonly<Record<string, string>> = {
  daraja: "Safaricom",
  payhero: "PayHero",
  lipana: "Lipana",
  zenopay: "ZenoPay",
};

/** The way to pay with a provider; undefined if the shop has no price in its currencies or no example of a phone. */
export function choiceOf(provider: Provider): Choice | undefined {
  const { name, countries, checkout } = provider;
  const currency = currencyOf(provider);
  const [country] = countries;
  const by = carriers[name];
  const example = country && getExampleNumber(country as CountryCode, examples);
  if (currency === undefined || !example) return undefined;
  return {
    provider: name,
    title: displayNameOf(name),
    ...(by !== undefined && { by }),
    country,
    currency,
    phoneExample: example.formatInternational(),
    redirects: checkout !== undefined,
  };
}
