/**
 * W3C trace context: what a request belongs to, carried through to log lines and calls to providers without passing
 * through every function's hands.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";

export interface Trace {
  /** 16 bytes in hex. */
  traceId: string;
  /** Two hex digits. */
  flags: string;
}

const current = new AsyncLocalStorage<Trace>();

/** Versions above 00 may say more after the flags, which are read as those of 00; ff is none. */
const header =
  /^(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-|$)/;

/** The trace that a `traceparent` header names, or a new one. */
export function readTrace(traceparent: string | string[] | undefined): Trace {
  const [, traceId, flags] = header.exec(String(traceparent ?? "")) ?? [];
  return traceId && flags ? { traceId, flags } : newTrace();
}

/** 32 digits, 122 bits of them random: Node makes UUIDs in stock, so that one costs a fifth of asking for random bytes. */
const randomHex = (): string => randomUUID().replaceAll("-", "");

/** For what no request began. */
export const newTrace = (): Trace => ({ traceId: randomHex(), flags: "00" });

/** Runs something, and all that it begins, as part of a trace. */
export const withTrace = <T>(trace: Trace, run: () => T): T => current.run(trace, run);

export const currentTrace = (): Trace | undefined => current.getStore();

/** The header for a call to somebody else, a new span of the current trace. */
export function traceHeaders(): { traceparent?: string } {
  const trace = current.getStore();
  return trace ? { traceparent: `00-${trace.traceId}-${randomHex().slice(16)}-${trace.flags}` } : {};
}
