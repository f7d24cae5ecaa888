/**
 * The payer's phone, which all sandboxes share. A provider's sandbox shows a prompt; a person, a program or the number's
 * scenario answers it. In memory, in one process: nothing survives a restart.
 *
 * Each prompt has at most one answer: the first one counts. Closing the phone stops its timers and leaves open prompts
 * without an answer. The number of open prompts is bounded: a new prompt beyond it ends the oldest one.
 */
import { randomUUID } from "node:crypto";
import { HubError } from "../errors.ts";
import { isNumber, screenOf } from "./number.ts";
import { createSmsList, type IncomingSms, type ReceivedSms } from "./sms-list.ts";

/** `ignore`: the payer lets the prompt lapse, and the provider reports that there was no answer. */
export const payerAnswers = ["approve", "cancel", "wrong_pin", "insufficient_funds", "ignore"] as const;

export type PayerAnswer = (typeof payerAnswers)[number];

/** A prompt that a provider shows. */
export interface PromptRequest {
  provider: string;
  /** With country code, with or without `+`. */
  phone: string;
  amountMinor: number;
  /** ISO 4217. */
  currency: string;
  /** The payer's reference, as the request for money states it: by default the id of the order. */
  account?: string | undefined;
  /** The text for the payer, as the request for money states it, if the order has no description. */
  description?: string | undefined;
  /** How to find the payment. */
  clue?: PaymentClue | undefined;
  /** Seconds from the request for money to the payment's deadline: 10 by default. */
  deadlineS?: number;
}

/** How a request for money names the payment. */
export type PaymentClue = { paymentId: string } | { provider: string; ownReference: string };

export interface Prompt extends Omit<PromptRequest, "deadlineS"> {
  id: string;
}

export interface Phone {
  /** Shows a prompt. `answer` resolves when the prompt is answered or lapses. */
  prompt(request: PromptRequest): { id: string; answer: Promise<PayerAnswer> };
  /** The open prompts of a phone, oldest first. The number may have any form; a local one fits every country. */
  prompts(msisdn: string): Prompt[];
  /** Answers a prompt. Throws `HubError` `route_unknown` if no such prompt is open. */
  answer(id: string, answer: PayerAnswer): void;
  receiveSms(sms: IncomingSms): void;
  /** The SMS of a phone, oldest first. */
  sms(msisdn: string): ReceivedSms[];
  close(): void;
}

/** The payer's and the provider's behaviour for one test number. */
export interface Scenario {
  /** The automatic answer; absent if the prompt waits for a person. */
  answer?: { as: PayerAnswer; afterS: number };
  /** Number of times that the provider sends its webhook. */
  webhooks: number;
  /** The provider sends the webhook before it answers the request for money. */
  overtakes?: true;
  /** The payer pays another amount than the requested one. */
  paysWrongAmount?: true;
  /** The provider refuses the request, because the phone has another prompt. */
  isBusy?: true;
  /** The answer's delay starts at the payment's deadline. */
  isLate?: true;
  /** The provider never answers the request for money, but prompts the payer. */
  isSilent?: true;
  /** The provider is down: it refuses the request and shows no prompt. */
  isDown?: true;
}

const manual: Scenario = { webhooks: 1 };
const after = (afterS: number, as: PayerAnswer): Scenario => ({ ...manual, answer: { as, afterS } });

/** By the last two digits of the phone. docs/sandbox.md has the same table. */
const scenarios: ReadonlyMap<string, Scenario> = new Map<string, Scenario>([
  ["00", manual],
  ["01", after(1, "approve")],
  ["02", after(1, "cancel")],
  ["03", after(1, "insufficient_funds")],
  ["04", after(1, "wrong_pin")],
  ["05", after(5, "ignore")],
  ["06", { ...after(1, "approve"), webhooks: 0 }],
  ["07", { ...after(1, "approve"), webhooks: 3 }],
  ["08", { ...after(0, "approve"), overtakes: true }],
  ["09", { ...after(3, "approve"), isLate: true }],
  ["10", { ...after(1, "approve"), paysWrongAmount: true }],
  ["11", { ...after(1, "approve"), isSilent: true }],
  ["12", { ...manual, isDown: true }],
  ["20", { ...manual, isBusy: true }],
]);

/** The scenario of a number. A prompt of a number without a row waits for a person, like 00. */
export const scenarioOf = (phone: string): Scenario => scenarios.get(phone.slice(-2)) ?? manual;

/** A prompt that waits for a person lapses 30 s after the payment's deadline, because the deadline must end the payment. */
const lapseAfterDeadlineS = 30;

/** The open prompts of one phone and of all phones (G12). */
export const promptsPerPhoneMax = 1_000;
export const promptsMax = 100_000;

interface OpenPrompt {
  prompt: Prompt;
  resolve: (answer: PayerAnswer) => void;
  /** The answer of a prompt that lapses. */
  defaultAnswer: PayerAnswer;
  timer: NodeJS.Timeout;
}

interface PhoneState {
  /** The open prompts of all numbers, oldest first. */
  open: Map<string, OpenPrompt>;
  /** The open prompts of the numbers with the same last eight digits, oldest first, by those. Numbers without any are absent. */
  screens: Map<string, Map<string, OpenPrompt>>;
}

export interface PhoneOptions {
  /** The length of a scenario's second in milliseconds: 1000 by default, shorter in tests. */
  secondMs?: number;
}

export function createPhone({ secondMs = 1_000 }: PhoneOptions = {}): Phone {
  const state: PhoneState = { open: new Map(), screens: new Map() };
  const { open, screens } = state;
  const list = createSmsList();

  return {
    receiveSms: list.add,
    sms: list.of,
    prompt: (request) => openPrompt(state, request, secondMs),
    prompts(msisdn) {
      const isShown = isNumber(msisdn);
      const screen = screens.get(screenOf(msisdn));
      return [...(screen?.values() ?? [])].flatMap(({ prompt }) => (isShown(prompt.phone) ? prompt : []));
    },
    answer(id, answer) {
      const found = removePrompt(state, id);
      if (!found) throw new HubError("route_unknown", "There is no such prompt, or it was answered");
      found.resolve(answer);
    },
    close() {
      for (const id of [...open.keys()]) removePrompt(state, id);
    },
  };
}

function openPrompt(
  state: PhoneState,
  { deadlineS = 10, ...request }: PromptRequest,
  secondMs: number,
): { id: string; answer: Promise<PayerAnswer> } {
  makeRoom(state, state.screens.get(screenOf(request.phone)), promptsPerPhoneMax);
  makeRoom(state, state.open, promptsMax);
  const id = randomUUID();
  const scenario = scenarioOf(request.phone);
  const { as: defaultAnswer, afterS } = scenario.answer ?? { as: "ignore", afterS: deadlineS + lapseAfterDeadlineS };
  const waitS = afterS + (scenario.isLate ? deadlineS : 0);
  const { promise: answer, resolve } = Promise.withResolvers<PayerAnswer>();
  const timer = setTimeout(() => lapse(state, id), waitS * secondMs).unref();
  const opened: OpenPrompt = { prompt: { id, ...request }, resolve, defaultAnswer, timer };
  state.open.set(id, opened);
  const digits = screenOf(request.phone);
  state.screens.set(digits, (state.screens.get(digits) ?? new Map()).set(id, opened));
  return { id, answer };
}

/** Ends an unanswered prompt. */
function lapse(state: PhoneState, id: string): void {
  const found = removePrompt(state, id);
  found?.resolve(found.defaultAnswer);
}

/** Removes a prompt; undefined if it is not open. The first caller gets it, so a prompt has one answer. */
function removePrompt(state: PhoneState, id: string): OpenPrompt | undefined {
  const found = state.open.get(id);
  if (!found) return undefined;
  clearTimeout(found.timer);
  state.open.delete(id);
  const digits = screenOf(found.prompt.phone);
  const screen = state.screens.get(digits);
  screen?.delete(id);
  if (screen?.size === 0) state.screens.delete(digits);
  return found;
}

/**
 * Ends the oldest of these prompts if there are `max` (G12). It gets its number's default answer. A prompt that waits for a
 * person gets none, so its payment ends at the deadline.
 */
function makeRoom(state: PhoneState, prompts: ReadonlyMap<string, OpenPrompt> | undefined, max: number): void {
  if (prompts === undefined || prompts.size < max) return;
  const [oldest] = prompts.keys();
  const found = oldest === undefined ? undefined : removePrompt(state, oldest);
  if (found && found.defaultAnswer !== "ignore") found.resolve(found.defaultAnswer);
}
