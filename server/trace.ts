/**
 * W3C trace context. A trace follows the asynchronous calls of a request, so that its log lines and its calls to providers carry
 * the trace's id. Functions need not pass it on.
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

/** Reads versions above 00 like 00, although they may have more fields after the flags. Version ff is invalid. */
const header =
  /^(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-|$)/;

/** The trace of a `traceparent` header, or a new trace if the header is absent or invalid. */
export function readTrace(traceparent: string | string[] | undefined): Trace {
  const [, traceId, flags] = header.exec(String(traceparent ?? "")) ?? [];
  return traceId && flags ? { traceId, flags } : newTrace();
}

/** 32 hex digits with 122 random bits. A UUID, because Node makes them in batches: one costs a fifth of `randomBytes`. */
const randomHex = (): string => randomUUID().replaceAll("-", "");

/** A trace for work that no request began. */
export const newTrace = (): Trace => ({ traceId: randomHex(), flags: "00" });

/** Runs a function, and everything that it begins, as part of a trace. */
export const withTrace = <T>(trace: Trace, run: () => T): T => current.run(trace, run);

export const currentTrace = (): Trace | undefined => current.getStore();

/** The header of a call to another system: a new span of the current trace. Empty outside of a trace. */
export function traceHeaders(): { traceparent?: string } {
  const trace = current.getStore();
  return trace ? { traceparent: `00-${trace.traceId}-${randomHex().slice(16)}-${trace.flags}` } : {};
}
