/**
 * Waiting for an event has no deadline of its own worth failing for: on a busy machine everything takes longer. Whoever
 * waits waits for 30 s, unless they say otherwise.
 */
import { vi } from "vitest";

const timeoutMs = 30_000;
const { waitUntil } = vi;

vi.waitUntil = (callback, options) =>
  waitUntil(
    callback,
    typeof options === "object" ? { timeout: timeoutMs, ...options } : { timeout: options ?? timeoutMs },
  );
