/** Amounts, from minor units. */
import { formatMoney } from "../../client-sdk/money.ts";

export const money = (amountMinor: number, currency: string): string => formatMoney(amountMinor, currency);

export const count = (number: number, one: string, many: string): string =>
  `${number.toLocaleString()} ${number === 1 ? one : many}`;

export const share = (part: number): string =>
  part.toLocaleString(undefined, { style: "percent", maximumFractionDigits: 0 });
