/** M-Pesa's result codes and receipts, for the sandboxes of all providers that sell M-Pesa. */
import { randomInt } from "node:crypto";
import type { PayerAnswer } from "./phone.ts";

/** A result code and its text. */
export interface MpesaResult {
  code: number;
  text: string;
}

/** The result of each answer in a webhook (Safaricom portal, "M-Pesa Express", "Result Codes"). */
export const mpesaResults: Readonly<Record<PayerAnswer, MpesaResult>> = {
  approve: { code: 0, text: "The service request is processed successfully." },
  cancel: { code: 1032, text: "Request cancelled by user" },
  wrong_pin: { code: 2001, text: "The initiator information is invalid." },
  insufficient_funds: { code: 1, text: "The balance is insufficient for the transaction." },
  ignore: { code: 1037, text: "No response from user." },
};

/** Ten capital letters and digits, like NLJ7RT61SV. */
export const receipt = (): string => capitals(10);

export const capitals = (length: number): string =>
  Array.from({ length }, () => randomInt(36).toString(36).toUpperCase()).join("");
