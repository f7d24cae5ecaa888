/** How all transports together drain their watchers when a node shuts down. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { drain } from "../../server/transport/transport.ts";

// Fake timers do not replace the promises of node:timers/promises.
vi.mock("node:timers/promises", () => ({ setTimeout: (ms: number) => new Promise((done) => setTimeout(done, ms)) }));

/** Drains transports with these numbers of watchers. */
function startDrain(...counts: number[]) {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const state = { closedWatchers: 0, closedTransports: 0, isDone: false };
  const closeWatcher = (): void => {
    state.closedWatchers += 1;
  };
  const close = async (): Promise<void> => {
    state.closedTransports += 1;
  };
  const transports = counts.map((count) => ({ startDrain: () => Array<() => void>(count).fill(closeWatcher), close }));
  drain(transports).then(() => {
    state.isDone = true;
  });
  return state;
}

describe("drain", () => {
  it("closes watchers in slices of fifty, across all transports", async () => {
    const state = startDrain(80, 0, 100);
    expect(state).toEqual({ closedWatchers: 50, closedTransports: 0, isDone: false });
    await vi.advanceTimersByTimeAsync(100);
    expect(state.closedWatchers).toBe(100);
    await vi.advanceTimersByTimeAsync(100);
    expect(state.closedWatchers).toBe(150);
    expect(state.closedTransports).toBe(0);
    await vi.advanceTimersByTimeAsync(100);
    expect(state).toEqual({ closedWatchers: 180, closedTransports: 3, isDone: true });
  });

  it("closes any number of watchers within two seconds", async () => {
    const state = startDrain(10_001);
    expect(state.closedWatchers).toBe(501);
    await vi.advanceTimersByTimeAsync(1_900);
    expect(state).toEqual({ closedWatchers: 10_001, closedTransports: 1, isDone: true });
  });

  it("resolves at once without watchers", async () => {
    const state = startDrain(0, 0);
    await vi.advanceTimersByTimeAsync(0);
    expect(state).toEqual({ closedWatchers: 0, closedTransports: 2, isDone: true });
  });
});
