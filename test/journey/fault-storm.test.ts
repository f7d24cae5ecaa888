/** A few hundred watchers lose their node at once. `npm run test:storm` does it with thousands and tells how long it took. */
import { describe, expect, it } from "vitest";
import { storm } from "../support/storm.ts";

const watchers = 300;

describe(`${watchers} watchers whose node is killed, and the next one replaced`, () => {
  it("all come back by themselves, with few queries, sent away in slices, and are shown what happens", async () => {
    const { crash, deploy } = await storm(watchers, true);
    expect(crash).toMatchObject({ lost: watchers, back: watchers, shown: watchers });
    // At most one for each tick in which somebody came.
    expect(crash.reads / watchers).toBeLessThan(1);
    expect(deploy).toMatchObject({ exitCode: 0, back: deploy.lost, shown: watchers });
    expect(deploy.slices).toBeGreaterThan(1);
    expect(deploy.largestSlice).toBeLessThan(0.7);
  }, 120_000);
});
