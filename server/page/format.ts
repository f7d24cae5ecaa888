/** Amounts, times and names as pages and mails show them. */
import { formatMoney } from "../../client-sdk/money.ts";
import { providerNames } from "../../client-sdk/provider-name.ts";
import type { Language } from "../order/order.ts";

/** The language of a text. */
export interface Spoken {
  locale: Language;
}

/** The time zone of the country of a currency, because the server does not know the one of a browser without scripts. */
const timeZones: Readonly<Record<string, string>> = {
  KES: "Africa/Nairobi",
  TZS: "Africa/Dar_es_Salaam",
  UGX: "Africa/Kampala",
  RWF: "Africa/Kigali",
  ZMW: "Africa/Lusaka",
  GHS: "Africa/Accra",
  XOF: "Africa/Abidjan",
  XAF: "Africa/Douala",
  BDT: "Asia/Dhaka",
};

export const timeZoneOf = (currency: string): string => timeZones[currency] ?? "UTC";

/** A long amount breaks after its currency, rather than inside the number. */
export const moneyOf = (amountMinor: number, currency: string, { locale }: Spoken): string =>
  formatMoney(amountMinor, currency, locale).replace("\u00a0", " ");

/** With the name of the time zone, because it may not be the payer's. The zone stays on the line of the time. */
export const dateOf = (iso: string, currency: string, { locale }: Spoken): string =>
  new Intl.DateTimeFormat(locale, {
    year: "numeric",
    month: "short",
    day: "numeric",
    hour: "numeric",
    minute: "2-digit",
    timeZoneName: "short",
    timeZone: timeZoneOf(currency),
  })
    .format(new Date(iso))
    .replace(/ (?=GMT|UTC|[+-])/g, "\u00a0");

/** The day of a time in a time zone. */
export const dayOf = (iso: string, timeZone: string, { locale }: Spoken): string =>
  new Intl.DateTimeFormat(locale, { year: "numeric", month: "long", day: "numeric", timeZone }).format(new Date(iso));

/** A time to wait, in whole minutes, and in whole hours from 90 minutes on. */
export function durationOf(seconds: number, { locale }: Spoken): string {
  const minutes = Math.max(1, Math.ceil(seconds / 60));
  const [value, unit] = minutes < 90 ? [minutes, "minute"] : [Math.ceil(minutes / 60), "hour"];
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(value);
}

/** With a hyphen that does not break. Undefined for a provider that payers do not know by name. */
export const displayNameOf = (provider: string | undefined): string | undefined =>
  providerNames[provider ?? ""]?.replace("-", "\u2011");

/** The companies behind providers that have the same display name. */
const companies: Readonly<Record<string, string>> = {
  daraja: "Safaricom",
  payhero: "PayHero",
  lipana: "Lipana",
  zenopay: "ZenoPay",
};

export const companyOf = (provider: string): string => companies[provider] ?? provider;
