/** The text by which a merchant tests the SMS gateway before the first payment. */
import { parsePhoneNumberFromString } from "libphonenumber-js/max";
import { v7 as uuidv7 } from "uuid";
import { fieldError } from "../../errors.ts";
import { plainPhone } from "../../phone-text.ts";
import type { TestResult } from "../notification.ts";
import type { SmsGateway } from "./gateway.ts";
import { replyOfResult } from "./reply.ts";
import { composeTestSms } from "./text.ts";

export interface TestSmsOptions {
  gatewayOf: (order: { isSandbox: boolean }) => SmsGateway | undefined;
  shopName: () => string;
}

/** Sends a text to the phone. Its delivery report is about no order, and is not kept. Throws `phone_invalid`, naming `to`. */
export async function sendTestSms(
  { gatewayOf, shopName }: TestSmsOptions,
  to: string | undefined,
  signal: AbortSignal,
): Promise<TestResult> {
  const live = gatewayOf({ isSandbox: false });
  const gateway = live ?? gatewayOf({ isSandbox: true });
  const phone = to === undefined ? undefined : parsePhoneNumberFromString(plainPhone(to), { extract: false });
  if (!phone?.isValid()) throw fieldError("phone_invalid", "to", "must be a phone with + and its country code");
  if (!gateway) throw new Error("an active notification has a gateway");
  const startedMs = performance.now();
  const text = composeTestSms(shopName(), gateway);
  const result = await gateway.send({ id: uuidv7(), to: phone.number, text }, signal);
  const reply = replyOfResult(result, performance.now() - startedMs);
  const taken = result.status === "sent" && result.reference !== undefined && { answer: result.reference };
  return { reply: { ...reply, ...taken }, isLive: live !== undefined };
}
