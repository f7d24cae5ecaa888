/** A reconnect storm of 300 watchers. `npm run test:storm` runs it with thousands and reports the times. */
import { describe, expect, it } from "vitest";
import { storm } from "../support/storm.ts";

const watchers = 300;

describe(`${watchers} watchers whose node is killed and then replaced`, () => {
  it("reconnect with few queries, are disconnected in slices, and get the next state (G4)", async () => {
    const { crash, deploy } = await storm(watchers, true);
    expect(crash).toMatchObject({ lost: watchers, back: watchers, shown: watchers });
    // One query reads the states of all watchers that arrived in a tick.
    expect(crash.reads / watchers).toBeLessThan(1);
    expect(deploy).toMatchObject({ exitCode: 0, back: deploy.lost, shown: watchers });
    expect(deploy.slices).toBeGreaterThan(1);
    expect(deploy.largestSlice).toBeLessThan(0.7);
  }, 120_000);
});
