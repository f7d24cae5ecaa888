/** What the demo shop sells, and how it can be paid. The prices are here and nowhere else: a page says what, never how much. */
import { type CountryCode, getExampleNumber } from "libphonenumber-js/max";
import examples from "libphonenumber-js/mobile/examples";
import { providerNames } from "../../client-sdk/provider-name.ts";
import type { Provider } from "../provider/provider.ts";

export const itemIds = ["tea", "coffee", "basket"] as const;

export type ItemId = (typeof itemIds)[number];

export interface Item {
  id: ItemId;
  name: string;
  /** By currency, in minor units. */
  prices: Readonly<Record<string, number>>;
}

export const items: Readonly<Record<ItemId, Item>> = {
  tea: {
    id: "tea",
    name: "Spiced tea, 100\u00a0g",
    prices: { KES: 15_000, TZS: 300_000, BDT: 14_050, UGX: 4_200 },
  },
  coffee: {
    id: "coffee",
    name: "Coffee beans, 250\u00a0g",
    prices: { KES: 85_000, TZS: 1_700_000, BDT: 79_000, UGX: 24_000 },
  },
  basket: {
    id: "basket",
    name: "Woven basket",
    prices: { KES: 240_000, TZS: 4_800_000, BDT: 225_000, UGX: 68_000 },
  },
};

/** One way to pay, as the page shows it. */
export interface Choice {
  provider: string;
  /** What a payer knows it by. */
  title: string;
  /** Name of the operator behind the payment method, where it differs from the title. */
  by?: string;
  /** ISO 3166-1 alpha-2. */
  country: string;
  currency: string;
  /** A number of the country, written as people do; its last five digits may be any. */
  phoneExample: string;
  /** The payer agrees on the provider's own page, and a phone need not be given. */
  redirects: boolean;
}

/** The currency that the shop asks this provider for; undefined where there is no price in any of its currencies. */
export const currencyOf = ({ currencies }: Pick<Provider, "currencies">): string | undefined =>
  currencies.find((currency) => itemIds.every((id) => items[id].prices[currency] !== undefined));

/** Name of the operator behind the payment method, where it differs from the title. */
const carriers: Readonly<Record<string, string>> = {
  daraja: "Safaricom",
  payhero: "PayHero",
  lipana: "Lipana",
  zenopay: "ZenoPay",
};

/** How the page can ask for a provider's money; undefined when it cannot. */
export function choiceOf(provider: Provider): Choice | undefined {
  const { name, countries, checkout } = provider;
  const currency = currencyOf(provider);
  const [country] = countries;
  const by = carriers[name];
  const example = country && getExampleNumber(country as CountryCode, examples);
  if (currency === undefined || !example) return undefined;
  return {
    provider: name,
    title: providerNames[name] ?? "Mobile money",
    ...(by !== undefined && { by }),
    country,
    currency,
    phoneExample: example.formatInternational(),
    redirects: checkout !== undefined,
  };
}
