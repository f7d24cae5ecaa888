import { EventEmitter } from "node:events";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { stopOnSignal } from "../server/shutdown.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

/** A process whose end is only noted. */
function start(release: () => Promise<void>) {
  const process = Object.assign(new EventEmitter(), { exit: vi.fn<(code?: number) => never>() });
  stopOnSignal(process as unknown as NodeJS.Process, {
    release,
    log: { info: () => undefined, error: () => undefined },
  });
  return process;
}

it("a process that is told to stop, twice, closes once and ends with 0", async () => {
  const release = vi.fn(async () => undefined);
  const process = start(release);
  for (const signal of ["SIGTERM", "SIGTERM", "SIGINT"]) process.emit(signal, signal);
  await vi.waitUntil(() => process.exit.mock.calls.length > 0);
  expect(process.exit.mock.calls).toEqual([[0]]);
  expect(release).toHaveBeenCalledOnce();
});

it("a process that cannot be closed ends with 1", async () => {
  const process = start(() => Promise.reject(new Error("stuck")));
  process.emit("SIGINT", "SIGINT");
  await vi.waitUntil(() => process.exit.mock.calls.length > 0);
  expect(process.exit.mock.calls).toEqual([[1]]);
});

it("a process whose closing hangs ends with 1 within 30 s", async () => {
  const process = start(() => new Promise(() => undefined));
  process.emit("SIGTERM", "SIGTERM");
  await vi.advanceTimersByTimeAsync(27_000);
  expect(process.exit).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(process.exit.mock.calls).toEqual([[1]]);
});
