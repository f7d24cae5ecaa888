/** The deadlines of payments in the sandbox. */
import { type Scenario, scenarioOf } from "./phone.ts";

/** A provider's facts that decide the deadlines of its payments. */
export interface DeadlineFacts {
  /** Seconds in which a person answers: 60 by default, because a person must find the phone, read and type. */
  personS?: number;
  /** The provider does not report that the payer did not answer, so such a payment ends by its deadline. */
  hidesNoAnswer?: true;
}

const defaultPersonS = 60;

/** Seconds of a payment that can only end by its deadline. Short, because a developer waits for it. */
const shortS = 10;

/**
 * Seconds from the request for money to the deadline of a payment with this phone number: enough for a person, because a person may
 * also answer before a test number does. A payment without a number waits for a person.
 */
export function sandboxDeadlineS({ personS = defaultPersonS, hidesNoAnswer }: DeadlineFacts, phone = ""): number {
  const scenario = scenarioOf(phone);
  const endsByDeadline = isWithoutOutcome(scenario) || (hidesNoAnswer && scenario.answer?.as === "ignore");
  return endsByDeadline ? shortS : personS;
}

/** Whether the node gets no outcome, or no reference to query, before the deadline. */
const isWithoutOutcome = ({ isLate, isSilent, isDown }: Scenario): boolean => [isLate, isSilent, isDown].includes(true);
