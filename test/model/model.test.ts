/** Random histories of payments on two nodes with faults, compared with a model. */
import { describe, expect, it } from "vitest";
import { check, commands, everyFault, ran } from "./command.ts";
import { runHistories, timeout } from "./history.ts";

describe("a random history of payments", () => {
  it("ends as in the model, for the database and every watcher (G2, G3, G5)", { timeout }, async () => {
    await runHistories((isLong) => ({ first: everyFault(), commands: commands(isLong), check, shortMs: 6_000 }));
    expect(ran.get("webhook")).toBeGreaterThan(0);
  });
});
