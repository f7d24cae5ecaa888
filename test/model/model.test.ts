/**
 * Random histories of payments on two nodes, whose parts are broken meanwhile, against a model of what ought to become of
 * them. Each failing run prints a seed and a path: `MODEL_SEED=… MODEL_PATH=… MODEL_REPLAY=…` runs it again.
 * `MODEL_MINUTES` makes it long (`npm run test:soak`); PostgreSQL then restarts instead of being cut off.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { check, commands, everyBreakage, ran } from "./command.ts";
import { createModel } from "./model.ts";
import { createWorld } from "./world.ts";

const { MODEL_SEED, MODEL_PATH, MODEL_REPLAY, MODEL_MINUTES } = process.env;
const minutes = Number(MODEL_MINUTES || 0);
const isLong = minutes > 0;

/** In `npm test`: enough for a hundred commands or two. */
const shortMs = 6_000;

const timeout = isLong ? minutes * 60_000 + 300_000 : 120_000;

it("every history ends as the model says, and nobody sees it otherwise", { timeout }, async () => {
  const world = await createWorld({ isLong });
  const seed = Number(MODEL_SEED || Date.now() % 2 ** 31);
  const run = async (some: Iterable<fc.AsyncCommand<ReturnType<typeof createModel>, typeof world>>): Promise<void> => {
    const model = createModel();
    await fc.asyncModelRun(() => ({ model, real: world }), some);
    await check(model, world);
  };
  console.info(`MODEL_SEED=${seed}`);
  const endOnFailure = !isLong;
  const histories = fc.commands(commands(isLong), {
    maxCommands: isLong ? 80 : 40,
    size: "max",
    ...(MODEL_REPLAY && { replayPath: MODEL_REPLAY }),
  });
  if (MODEL_PATH) {
    await fc.assert(fc.asyncProperty(histories, run), { seed, path: MODEL_PATH, endOnFailure });
    return;
  }
  await fc.assert(fc.asyncProperty(everyBreakage(), run), { seed, numRuns: 1, endOnFailure: true });
  // One by one, so that time ends between two and never within one.
  const endsAtMs = Date.now() + (isLong ? minutes * 60_000 : shortMs);
  for (let next = seed; Date.now() < endsAtMs; next += 1) {
    await fc.assert(fc.asyncProperty(histories, run), { seed: next, numRuns: 1, endOnFailure });
  }
  console.info([...ran].map(([name, times]) => `${name} ${times}`).join(", "));
  expect(ran.get("webhook")).toBeGreaterThan(0);
});
