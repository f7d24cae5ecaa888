/**
 * The payer's phone, shared by every provider's sandbox: prompts ring here, and a person, a program or the number's own
 * habit answers them. In memory, in one process; nothing survives a restart.
 *
 * Each prompt is answered exactly once: the first answer counts, whoever gives it, and the prompt is gone. Closing
 * the phone stops its timers; prompts still open then are never answered.
 */
import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { parseInput } from "../input.ts";

/** `ignore`: the payer lets the prompt lapse, and the provider says that nobody answered. */
export const payerAnswers = ["approve", "cancel", "wrong_pin", "insufficient_funds", "ignore"] as const;

export type PayerAnswer = (typeof payerAnswers)[number];

/** What a provider asks of a phone. */
export interface Ring {
  provider: string;
  /** With country code, with or without `+`. */
  phone: string;
  amountMinor: number;
  /** ISO 4217. */
  currency: string;
  /** From asking to the payment's deadline, in seconds: 10 by default. */
  deadlineS?: number;
}

export interface Prompt extends Omit<Ring, "deadlineS"> {
  id: string;
}

export interface Phone {
  /** Shows a prompt. `answer` stays open until somebody answers or the prompt lapses. */
  ring(ring: Ring): { id: string; answer: Promise<PayerAnswer> };
  /** The open prompts of a phone, oldest first. Any form of the number will do: its last nine digits are compared. */
  prompts(msisdn: string): Prompt[];
  /** Answers a prompt. Throws `HubError` `route_unknown` when there is no such prompt (any more). */
  answer(id: string, answer: PayerAnswer): void;
  /** Calls back whenever the phone's prompts are others than before. Returns the way to stop. */
  watch(msisdn: string, onChange: () => void): () => void;
  close(): void;
}

/** What a phone does by itself, and what goes differently at the provider when it does. */
export interface Behaviour {
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

const manual: Behaviour = { webhooks: 1 };
const after = (afterS: number, as: PayerAnswer): Behaviour => ({ ...manual, answer: { as, afterS } });

/** By the last two digits of the phone. The README's table of test numbers says the same. */
const behaviours: ReadonlyMap<string, Behaviour> = new Map<string, Behaviour>([
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
export const behaviour = (phone: string): Behaviour => behaviours.get(phone.slice(-2)) ?? manual;

/** A prompt that nobody answers lapses, later than any deadline of the sandbox, so that it does not stay for ever. */
const lapseAfterS = 90;

interface OpenPrompt {
  prompt: Prompt;
  resolve: (answer: PayerAnswer) => void;
  timer: NodeJS.Timeout;
}

export interface PhoneOptions {
  /** How long a payer's second takes, in milliseconds: shorter in tests, 1000 by default. */
  secondMs?: number;
}

export function createPhone({ secondMs = 1_000 }: PhoneOptions = {}): Phone {
  const open = new Map<string, OpenPrompt>();
  const watchers = new Set<{ digits: string; onChange: () => void }>();

  const changed = ({ phone }: Prompt): void => {
    const digits = lastDigits(phone);
    for (const watcher of watchers) if (watcher.digits === digits) watcher.onChange();
  };

  const take = (id: string): OpenPrompt | undefined => {
    const found = open.get(id);
    if (!found) return undefined;
    clearTimeout(found.timer);
    open.delete(id);
    changed(found.prompt);
    return found;
  };

  return {
    ring({ deadlineS = 10, ...ring }) {
      const id = randomUUID();
      const does = behaviour(ring.phone);
      const { as, afterS } = does.answer ?? { as: "ignore", afterS: lapseAfterS };
      const waitS = afterS + (does.isLate ? deadlineS : 0);
      const { promise: answer, resolve } = Promise.withResolvers<PayerAnswer>();
      const timer = setTimeout(() => take(id)?.resolve(as), waitS * secondMs).unref();
      const prompt = { id, ...ring };
      open.set(id, { prompt, resolve, timer });
      changed(prompt);
      return { id, answer };
    },
    prompts(msisdn) {
      const wanted = lastDigits(msisdn);
      return [...open.values()].map(({ prompt }) => prompt).filter(({ phone }) => lastDigits(phone) === wanted);
    },
    answer(id, answer) {
      const found = take(id);
      if (!found) throw new HubError("route_unknown", "There is no such prompt, or it was answered");
      found.resolve(answer);
    },
    watch(msisdn, onChange) {
      const watcher = { digits: lastDigits(msisdn), onChange };
      watchers.add(watcher);
      return () => void watchers.delete(watcher);
    },
    close() {
      watchers.clear();
      for (const id of open.keys()) take(id);
    },
  };
}

const lastDigits = (phone: string): string => phone.replace(/\D/g, "").slice(-9);

/** How a program answers a prompt. */
export const answerBody = z.object({ answer: z.enum(payerAnswers) });

/** The phone for programs. To be mounted at `/sandbox/phone`. */
export function phoneRoutes(app: FastifyInstance, { phone }: { phone: Phone }): void {
  app.get<{ Params: { msisdn: string } }>("/:msisdn/prompts", async ({ params }) => ({
    prompts: phone.prompts(params.msisdn),
  }));

  app.post<{ Params: { id: string } }>("/prompts/:id", async ({ params, body }) => {
    const { answer } = parseInput(answerBody, body);
    phone.answer(params.id, answer);
    return { id: params.id, answer };
  });
}
