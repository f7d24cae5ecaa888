/** An SDK transport whose connections the test opens, drops and fails. */
import { vi } from "vitest";
import type { LinkListener, Target, Transport } from "../../client-sdk/transport/transport.ts";

/** One run of the transport. The test or the watch ends it. */
export interface HeldLink extends LinkListener {
  target: Target;
  signal: AbortSignal;
  /** Ends the run as if the connection was lost. */
  drop(): void;
  /** Rejects the run with this error. */
  fail(error: unknown): void;
}

export interface ScriptedTransport extends Transport {
  /** Every link so far, in order. */
  links: HeldLink[];
  /** Waits for the link with this number, counted from 1. */
  link(count: number): Promise<HeldLink>;
}

export function createScriptedTransport(name = "scripted"): ScriptedTransport {
  const links: HeldLink[] = [];
  return {
    name,
    links,
    link: (count) => vi.waitUntil(() => links[count - 1], { interval: 2 }),
    run: (target, listener, signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => resolve());
        links.push({ ...listener, target, signal, drop: resolve, fail: reject });
      }),
  };
}
