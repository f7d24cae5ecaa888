/** How all transports together send their watchers away when a node stops. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { drain } from "../../server/transport/transport.ts";

// Fake timers do not reach a promise of the system's own.
vi.mock("node:timers/promises", () => ({ setTimeout: (ms: number) => new Promise((done) => setTimeout(done, ms)) }));

/** Transports with so many watchers, and how many of them have been sent away. */
function startLeave(...counts: number[]) {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const state = { gone: 0, ended: 0, isDone: false };
  const sendAway = (): void => {
    state.gone += 1;
  };
  const end = async (): Promise<void> => {
    state.ended += 1;
  };
  const transports = counts.map((count) => ({ begin: () => Array<() => void>(count).fill(sendAway), end }));
  drain(transports).then(() => {
    state.isDone = true;
  });
  return state;
}

describe("watchers of a node that stops", () => {
  it("go in slices of fifty, of all transports together", async () => {
    const state = startLeave(80, 0, 100);
    expect(state).toEqual({ gone: 50, ended: 0, isDone: false });
    await vi.advanceTimersByTimeAsync(100);
    expect(state.gone).toBe(100);
    await vi.advanceTimersByTimeAsync(100);
    expect(state.gone).toBe(150);
    expect(state.ended).toBe(0);
    await vi.advanceTimersByTimeAsync(100);
    expect(state).toEqual({ gone: 180, ended: 3, isDone: true });
  });

  it("are gone within two seconds, however many they are", async () => {
    const state = startLeave(10_001);
    expect(state.gone).toBe(501);
    await vi.advanceTimersByTimeAsync(1_900);
    expect(state).toEqual({ gone: 10_001, ended: 1, isDone: true });
  });

  it("are not waited for where there are none", async () => {
    const state = startLeave(0, 0);
    await vi.advanceTimersByTimeAsync(0);
    expect(state).toEqual({ gone: 0, ended: 2, isDone: true });
  });
});
