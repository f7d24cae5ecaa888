/** Wires the start, the checks and the completion of payments. */
import type { FastifyBaseLogger } from "fastify";
import type { UrlSecrets } from "../auth/keys.ts";
import { notReady } from "../errors.ts";
import { createInFlight, type InFlight } from "../in-flight.ts";
import { reportTask } from "../log.ts";
import { type Loop, startLoop } from "../loop.ts";
import type { OrderStore } from "../order/store.ts";
import type { Terms } from "../provider/enabled.ts";
import type { Provider } from "../provider/provider.ts";
import type { Counter } from "../rate-limit.ts";
import { type Ask, createAsk } from "./ask.ts";
import { createInitiator } from "./initiate.ts";
import { createReconciler, type Reconciler, type ReconcilerOptions } from "./reconcile.ts";
import { createStartPayment, type StartPayment } from "./start.ts";

export interface PaymentsOptions {
  providers: ReadonlyMap<string, Provider>;
  terms: (provider: string) => Terms;
  allowance: ReconcilerOptions["allowance"];
  store: OrderStore;
  urlSecrets: { webhook: UrlSecrets; return: UrlSecrets };
  /** Called with each reference that is stored. */
  onReference: (provider: string, reference: string) => Promise<void>;
  /** Whether this node must start no payment and claim no due one now. */
  isBlocked: () => boolean;
  /** Base of the URLs that providers get. */
  publicUrl: () => string;
  /** Counts for limits. */
  counter: Counter;
  log: FastifyBaseLogger;
}

export interface Payments {
  ask: Ask;
  startPayment: StartPayment;
  check: Reconciler["check"];
  /** The completions that the return route has started. */
  completions: InFlight;
  /**
   * Resolves when no call to a provider is in flight and each outcome is stored; after 10 s the calls are aborted. It may be
   * called more than once.
   */
  finishCalls(): Promise<void>;
}

/** Ten minutes, because only nodes of the previous version leave payments without a time. */
const datingMs = 600_000;

/** Starts the loop that checks due payments, and the one that adds missing times of money. */
export function openPayments(options: PaymentsOptions): Payments {
  const { store, isBlocked } = options;
  const claimDue: OrderStore["claimDue"] = async (allowances) => (isBlocked() ? [] : store.claimDue(allowances));
  const reconciler = createReconciler({ ...options, store: { ...store, claimDue } });
  const initiator = createInitiator({ ...options, secrets: options.urlSecrets });
  const completions = createInFlight();
  const dating = startDating(options);
  const questions = createInFlight();
  const ask = createAsk({ ...options, inFlight: questions });
  const startPayment = createStartPayment({ ...options, initiator });
  return {
    async startPayment(...given) {
      if (isBlocked()) throw notReady();
      return startPayment(...given);
    },
    async ask(paymentId) {
      if (isBlocked()) throw notReady();
      const asked = ask(paymentId);
      const ended = (): void => undefined;
      void questions.track(asked.then(ended, ended));
      return asked;
    },
    check: reconciler.check,
    completions,
    async finishCalls() {
      const calls = [initiator, completions, questions, reconciler];
      await Promise.all([...calls, dating].map((part) => part.close()));
    },
  };
}

function startDating({ store, log }: PaymentsOptions): Loop {
  let isMore = false;
  const loop = startLoop({
    task: async () => {
      isMore = false;
      isMore = await store.datePayments();
    },
    // A pause after each batch, because payments go first.
    delayMs: (tookMs) => (isMore ? tookMs : datingMs),
    ...reportTask(log, "paid time"),
  });
  loop.runNow();
  return loop;
}
