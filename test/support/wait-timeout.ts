/** Raises the default timeout of `vi.waitUntil` to 30 s, because a busy machine needs longer than 1 s. */
import { vi } from "vitest";

const timeoutMs = 30_000;
const { waitUntil } = vi;

vi.waitUntil = (callback, options) =>
  waitUntil(
    callback,
    typeof options === "object" ? { timeout: timeoutMs, ...options } : { timeout: options ?? timeoutMs },
  );
