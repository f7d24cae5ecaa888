/**
 * Which numbers are a provider's, to select the provider while the payer types. Numbers move between operators, so this never refuses
 * one. Sources: libphonenumber, `resources/carrier`; Wikipedia, "Telephone numbers in Kenya", "… Rwanda" and "… Ivory Coast".
 */

/** The numbers of one country. */
export interface OperatorNumbers {
  callingCode: string;
  /** The first digits after the calling code. Absent if the provider serves every operator of the country. */
  prefixes?: readonly string[];
}

const safaricom: OperatorNumbers = {
  callingCode: "254",
  prefixes: "70 71 72 740 741 742 743 745 746 748 757 758 759 768 769 79 110 111 112 113 114 115".split(" "),
};

const mtn = (callingCode: string, ...prefixes: string[]): OperatorNumbers => ({ callingCode, prefixes });

/** By provider and currency. A provider without an entry prompts no phone, or its numbers are not known. */
const operators: Readonly<Record<string, Readonly<Record<string, OperatorNumbers>>>> = {
  daraja: { KES: safaricom },
  payhero: { KES: safaricom },
  lipana: { KES: safaricom },
  zenopay: { TZS: { callingCode: "255" } },
  mtn: {
    UGX: mtn("256", "76", "77", "78"),
    GHS: mtn("233", "24", "25", "53", "54", "55", "59"),
    ZMW: mtn("260", "76", "96"),
    RWF: mtn("250", "78", "79"),
  },
};

export const operatorOf = (provider: string, currency: string): OperatorNumbers | undefined =>
  operators[provider]?.[currency];

/** A mobile number as people of the country write it, by calling code. */
const examples: Readonly<Record<string, string>> = {
  254: "0712 345 678",
  255: "0712 345 678",
  256: "0772 345 678",
  250: "0788 345 678",
  260: "0966 345 678",
  233: "024 345 6789",
};

/** With spaces that do not break. Undefined for a country without an entry. */
export const exampleOf = (callingCode: string | undefined): string | undefined =>
  examples[callingCode ?? ""]?.replaceAll(" ", "\u00a0");
