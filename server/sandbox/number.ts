/** Phone numbers in any form, as the sandbox compares them. */
import { phoneDigits } from "../phone-text.ts";

/** Eight, because a number of Eswatini has no more without its country code. */
export const screenOf = (phone: string): string => phoneDigits(phone).slice(-8);

/** The last nine digits of a number, which are the same in its local and its international form. */
export const lastDigits = (phone: string): string => phoneDigits(phone).slice(-9);
