import { EventEmitter } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { shutDownOnSignal } from "../server/shutdown.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

/** A process that records its exit instead of ending. */
function start(release: () => Promise<void>) {
  const process = Object.assign(new EventEmitter(), { exit: vi.fn<(code?: number) => never>() });
  shutDownOnSignal(process as unknown as NodeJS.Process, {
    release,
    log: { info: () => undefined, error: () => undefined },
  });
  return process;
}

describe("shutdown", () => {
  it("releases the resources once and exits with 0, however many signals arrive", async () => {
    const release = vi.fn(async () => undefined);
    const process = start(release);
    for (const signal of ["SIGTERM", "SIGTERM", "SIGINT"]) process.emit(signal, signal);
    await vi.waitUntil(() => process.exit.mock.calls.length > 0);
    expect(process.exit.mock.calls).toEqual([[0]]);
    expect(release).toHaveBeenCalledOnce();
  });

  it("exits with 1 if the resources cannot be released", async () => {
    const process = start(() => Promise.reject(new Error("stuck")));
    process.emit("SIGINT", "SIGINT");
    await vi.waitUntil(() => process.exit.mock.calls.length > 0);
    expect(process.exit.mock.calls).toEqual([[1]]);
  });

  it("exits with 1 before 30 s have passed if the release hangs", async () => {
    const process = start(() => new Promise(() => undefined));
    process.emit("SIGTERM", "SIGTERM");
    await vi.advanceTimersByTimeAsync(27_000);
    expect(process.exit).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(process.exit.mock.calls).toEqual([[1]]);
  });
});
