/**
 * Random histories of payments on two nodes, whose parts are broken meanwhile, against a model of what ought to become of
 * them.
 */
import { expect, it } from "vitest";
import { check, commands, everyBreakage, ran } from "./command.ts";
import { runHistories, timeout } from "./history.ts";

it("every history ends as the model says, and nobody sees it otherwise", { timeout }, async () => {
  await runHistories((isLong) => ({ first: everyBreakage(), commands: commands(isLong), check, shortMs: 6_000 }));
  expect(ran.get("webhook")).toBeGreaterThan(0);
});
