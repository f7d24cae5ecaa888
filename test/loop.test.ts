import { describe, expect, it, onTestFinished, vi } from "vitest";
import { startLoop } from "../server/loop.ts";

describe("a loop", () => {
  it("reports the first of several failed runs, and the first successful run after them", async () => {
    const runs = ["ok", "ECONNREFUSED", "timeout", "ECONNREFUSED", "ok", "ok", "timeout", "ok"];
    const reports: string[] = [];
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    const loop = startLoop({
      task: async () => {
        const run = runs.shift();
        if (run === undefined) return end();
        if (run !== "ok") throw new Error(run);
      },
      delayMs: () => 0,
      onError: (error) => void reports.push((error as Error).message),
      onRecovered: () => void reports.push("recovered"),
    });
    onTestFinished(loop.close);
    await over;
    expect(reports).toEqual(["ECONNREFUSED", "recovered", "timeout", "recovered"]);
  });

  it("continues after a failed run without an `onRecovered`", async () => {
    const task = vi.fn(async () => undefined).mockRejectedValueOnce(new Error("once"));
    const onError = vi.fn();
    const loop = startLoop({ task, delayMs: () => 0, onError });
    onTestFinished(loop.close);
    await vi.waitUntil(() => task.mock.calls.length > 2);
    expect(onError).toHaveBeenCalledOnce();
  });
});
