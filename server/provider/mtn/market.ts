/** The countries in which MTN offers MoMo Collections, by target environment. */

interface Market {
  /** ISO 3166-1 alpha-2. */
  country: string;
  callingCode: string;
  /** ISO 4217. */
  currencies: readonly string[];
}

const market = (country: string, callingCode: string, ...currencies: string[]): Market => ({
  country,
  callingCode,
  currencies,
});

/** Environments: MTN, "Common Error"; integrators report Rwanda's. Liberia has two currencies, the others one. */
const markets: ReadonlyMap<string, Market> = new Map([
  ["mtnuganda", market("UG", "256", "UGX")],
  ["mtnghana", market("GH", "233", "GHS")],
  ["mtnivorycoast", market("CI", "225", "XOF")],
  ["mtnzambia", market("ZM", "260", "ZMW")],
  ["mtncameroon", market("CM", "237", "XAF")],
  ["mtnbenin", market("BJ", "229", "XOF")],
  ["mtncongo", market("CG", "242", "XAF")],
  ["mtnswaziland", market("SZ", "268", "SZL")],
  ["mtnguineaconakry", market("GN", "224", "GNF")],
  ["mtnsouthafrica", market("ZA", "27", "ZAR")],
  ["mtnliberia", market("LR", "231", "LRD", "USD")],
  ["mtnrwanda", market("RW", "250", "RWF")],
]);

/** The market of a target environment. Undefined for MTN's sandbox and for environments that are not in the table. */
export const marketOf = (environment: string): Market | undefined => markets.get(environment);

/** Every currency of a market. */
export const marketCurrencies: readonly string[] = [
  ...new Set([...markets.values()].flatMap(({ currencies }) => currencies)),
];

/** The calling codes of the countries that pay in this currency; undefined if none does. */
export function callingCodesOf(currency: string): string[] | undefined {
  const found = [...markets.values()].filter((one) => one.currencies.includes(currency));
  return found.length > 0 ? found.map(({ callingCode }) => callingCode) : undefined;
}

/**
 * The countries that pay in one of these currencies. All countries if none does: MTN's own sandbox accepts EUR only, in place
 * of each country's currency.
 */
export function countriesOf(currencies: readonly string[]): string[] {
  const all = [...markets.values()];
  const found = all.filter((one) => one.currencies.some((currency) => currencies.includes(currency)));
  return (found.length > 0 ? found : all).map(({ country }) => country);
}
