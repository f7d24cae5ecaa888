/** A transport whose every link is in the test's hands. */
import { vi } from "vitest";
import type { LinkListener, Target, Transport } from "../../client-sdk/transport/transport.ts";

/** One run of the transport, until the test or the watch ends it. */
export interface HeldLink extends LinkListener {
  target: Target;
  signal: AbortSignal;
  /** The link is gone. */
  drop(): void;
  /** The run ends with this. */
  fail(error: unknown): void;
}

export interface ScriptedTransport extends Transport {
  /** Every link so far. */
  links: HeldLink[];
  /** The link of this number, counted from 1, as soon as it is asked for. */
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
