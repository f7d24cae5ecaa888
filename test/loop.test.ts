import { expect, it, onTestFinished, vi } from "vitest";
import { startLoop } from "../server/loop.ts";

it("a loop reports the first of several failing runs, and the first good one after them", async () => {
  const runs = ["ok", "ECONNREFUSED", "timeout", "ECONNREFUSED", "ok", "ok", "timeout", "ok"];
  const said: string[] = [];
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  const loop = startLoop({
    task: async () => {
      const run = runs.shift();
      if (run === undefined) return end();
      if (run !== "ok") throw new Error(run);
    },
    delayMs: () => 0,
    onError: (error) => void said.push((error as Error).message),
    onRecovered: () => void said.push("recovered"),
  });
  onTestFinished(loop.close);
  await over;
  expect(said).toEqual(["ECONNREFUSED", "recovered", "timeout", "recovered"]);
});

it("a loop that nobody tells of its recovery goes on", async () => {
  const task = vi.fn(async () => undefined).mockRejectedValueOnce(new Error("once"));
  const onError = vi.fn();
  const loop = startLoop({ task, delayMs: () => 0, onError });
  onTestFinished(loop.close);
  await vi.waitUntil(() => task.mock.calls.length > 2);
  expect(onError).toHaveBeenCalledOnce();
});
