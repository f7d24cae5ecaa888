/**
 * The payer's phone, shared by every provider's sandbox: prompts ring here, and a person, a program or the number's own
 * habit answers them. In memory, in one process; nothing survives a restart.
 *
 * Each prompt is answered exactly once: the first answer counts, whoever gives it, and the prompt is gone. Closing
 * the phone stops its timers; prompts still open then are never answered. How many are open is bounded: when there is no room for one more, the
 * oldest ends early, as it would have by itself.
 */
import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { prompts } from "../schema/answer.ts";
import { prompt } from "../schema/example.ts";
import { described, openedBy } from "../schema/route.ts";
import { parseInput, readMsisdn } from "../validation.ts";

/** `ignore`: the payer lets the prompt lapse, and the provider says that nobody answered. */
const payerAnswers = ["approve", "cancel", "wrong_pin", "insufficient_funds", "ignore"] as const;

export type PayerAnswer = (typeof payerAnswers)[number];

/** What a provider asks of a phone. */
export interface PromptRequest {
  provider: string;
  /** With country code, with or without `+`. */
  phone: string;
  amountMinor: number;
  /** ISO 4217. */
  currency: string;
  /** From asking to the payment's deadline, in seconds: 10 by default. */
  deadlineS?: number;
}

export interface Prompt extends Omit<PromptRequest, "deadlineS"> {
  id: string;
}

export interface Phone {
  /** Shows a prompt. `answer` stays open until somebody answers or the prompt lapses. */
  prompt(request: PromptRequest): { id: string; answer: Promise<PayerAnswer> };
  /** The open prompts of a phone, oldest first. Any form of the number will do: its last nine digits are compared. */
  prompts(msisdn: string): Prompt[];
  /** Answers a prompt. Throws `HubError` `route_unknown` when there is no such prompt (any more). */
  answer(id: string, answer: PayerAnswer): void;
  /** Calls back whenever the phone's prompts are others than before. Returns the way to stop. */
  watch(msisdn: string, onChange: () => void): () => void;
  close(): void;
}

/** What a phone does by itself, and what goes differently at the provider when it does. */
export interface Scenario {
  /** Absent: nobody answers by themselves. */
  answer?: { as: PayerAnswer; afterS: number };
  /** How often the provider sends its webhook. */
  webhooks: number;
  /** The webhook arrives before the provider has answered our own request. */
  overtakes?: true;
  /** The payer pays another amount than was asked. */
  paysOther?: true;
  /** The provider refuses to ask: another prompt is open on the phone. */
  isBusy?: true;
  /** The answer's time counts from the payment's deadline. */
  isLate?: true;
  /** The provider never answers our own request, though it asks the payer. */
  isSilent?: true;
  /** The provider is down for our own request, and asks nobody. */
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
  ["10", { ...after(1, "approve"), paysOther: true }],
  ["11", { ...after(1, "approve"), isSilent: true }],
  ["12", { ...manual, isDown: true }],
  ["20", { ...manual, isBusy: true }],
]);

/** What the number makes happen; any ending without a row waits for a person, like 00. */
export const scenarioOf = (phone: string): Scenario => scenarios.get(phone.slice(-2)) ?? manual;

/** A prompt that nobody answers lapses, later than any deadline of the sandbox, so that it does not stay for ever. */
const lapseAfterS = 90;

/** Open prompts of one phone, and of all phones: each waits for 90 s at most, and stands in the page's list. */
export const promptsPerPhoneMax = 1_000;
export const promptsMax = 100_000;

interface OpenPrompt {
  prompt: Prompt;
  /** Ends it. */
  resolve: (answer: PayerAnswer) => void;
  /** What it ends as when nobody answers. */
  habit: PayerAnswer;
  timer: NodeJS.Timeout;
}

/** One number: what it shows, oldest first, and who looks. Kept while there is either. */
interface Screen {
  open: Map<string, OpenPrompt>;
  watchers: Set<() => void>;
}

export interface PhoneOptions {
  /** How long a payer's second takes, in milliseconds: shorter in tests, 1000 by default. */
  secondMs?: number;
}

export function createPhone({ secondMs = 1_000 }: PhoneOptions = {}): Phone {
  /** All of them, oldest first. */
  const open = new Map<string, OpenPrompt>();
  const screens = new Map<string, Screen>();

  /** Changes one number's screen, and forgets it when nothing is left of it. */
  const change = (msisdn: string, act: (screen: Screen) => void): Screen => {
    const digits = lastDigits(msisdn);
    const screen = screens.get(digits) ?? { open: new Map(), watchers: new Set() };
    act(screen);
    if (screen.open.size + screen.watchers.size > 0) screens.set(digits, screen);
    else screens.delete(digits);
    return screen;
  };

  const tell = ({ watchers }: Screen): void => {
    for (const onChange of [...watchers]) onChange();
  };

  const take = (id: string): OpenPrompt | undefined => {
    const found = open.get(id);
    if (!found) return undefined;
    clearTimeout(found.timer);
    open.delete(id);
    tell(change(found.prompt.phone, (screen) => screen.open.delete(id)));
    return found;
  };

  const lapse = (id: string): void => {
    const found = take(id);
    found?.resolve(found.habit);
  };

  /**
   * Ends the oldest of these when there is no room for one more: as its number would have, or, where a person would have
   * answered, without a word, so that its payment's deadline decides.
   */
  const makeRoom = (prompts: ReadonlyMap<string, OpenPrompt> | undefined, max: number): void => {
    const [oldest] = prompts?.keys() ?? [];
    const found = oldest !== undefined && prompts !== undefined && prompts.size >= max ? take(oldest) : undefined;
    if (found && found.habit !== "ignore") found.resolve(found.habit);
  };

  return {
    prompt({ deadlineS = 10, ...request }) {
      makeRoom(screens.get(lastDigits(request.phone))?.open, promptsPerPhoneMax);
      makeRoom(open, promptsMax);
      const id = randomUUID();
      const scenario = scenarioOf(request.phone);
      const { as: habit, afterS } = scenario.answer ?? { as: "ignore", afterS: lapseAfterS };
      const waitS = afterS + (scenario.isLate ? deadlineS : 0);
      const { promise: answer, resolve } = Promise.withResolvers<PayerAnswer>();
      const timer = setTimeout(lapse, waitS * secondMs, id).unref();
      const waiting = { prompt: { id, ...request }, resolve, habit, timer };
      open.set(id, waiting);
      tell(change(request.phone, (screen) => screen.open.set(id, waiting)));
      return { id, answer };
    },
    prompts(msisdn) {
      const screen = screens.get(lastDigits(msisdn));
      return [...(screen?.open.values() ?? [])].map(({ prompt }) => prompt);
    },
    answer(id, answer) {
      const found = take(id);
      if (!found) throw new HubError("route_unknown", "There is no such prompt, or it was answered");
      found.resolve(answer);
    },
    watch(msisdn, onChange) {
      // Of its own, so that one who watches twice is two watchers.
      const watcher = (): void => onChange();
      change(msisdn, ({ watchers }) => watchers.add(watcher));
      return () => void change(msisdn, ({ watchers }) => watchers.delete(watcher));
    },
    close() {
      for (const { watchers } of screens.values()) watchers.clear();
      for (const id of [...open.keys()]) take(id);
      screens.clear();
    },
  };
}

/** What is compared of a number, in whatever form it is written. */
export const lastDigits = (phone: string): string => phone.replace(/\D/g, "").slice(-9);

/** How a program answers a prompt. */
export const answerBody = z
  .object({ answer: z.enum(payerAnswers).describe("What the payer does.") })
  .meta({ id: "PromptAnswer" });

const listPrompts = described({
  operationId: "listPrompts",
  tag: "Sandbox",
  summary: "What a phone shows",
  security: openedBy.anybody,
  answers: { 200: { description: "Its open prompts.", schema: prompts, example: { prompts: [prompt] } } },
  problems: ["body_invalid", "rate_limited"],
});

const answerPrompt = described({
  operationId: "answerPrompt",
  tag: "Sandbox",
  summary: "Answer a prompt",
  description: "The first answer counts. `ignore` lets it lapse: the provider says that nobody answered.",
  security: openedBy.anybody,
  body: answerBody,
  examples: { approve: { summary: "The payer types the right PIN", value: { answer: "approve" } } },
  answers: {
    200: {
      description: "So it is.",
      schema: z.object({ id: z.uuid(), answer: z.enum(payerAnswers) }).meta({ id: "AnsweredPrompt" }),
      example: { id: prompt.id, answer: "approve" },
    },
  },
  problems: ["body_invalid", "route_unknown", "body_too_large", "rate_limited"],
});

/** The phone for programs. To be mounted at `/sandbox/phone`. */
export function phoneRoutes(app: FastifyInstance, { phone }: { phone: Phone }): void {
  app.get("/:msisdn/prompts", listPrompts, async ({ params }) => ({ prompts: phone.prompts(readMsisdn(params)) }));

  app.post<{ Params: { id: string } }>("/prompts/:id", answerPrompt, async ({ params, body }) => {
    const { answer } = parseInput(answerBody, body);
    phone.answer(params.id, answer);
    return { id: params.id, answer };
  });
}
