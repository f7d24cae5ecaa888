/**
 * Runs random histories against a model. Each failing run prints a seed and a path: `MODEL_SEED=… MODEL_PATH=…
 * MODEL_REPLAY=…` with its test file runs it again. `MODEL_MINUTES` makes it long (`npm run test:soak`); PostgreSQL then
 * restarts instead of being cut off.
 */
import fc from "fast-check";
import { type Command, ran } from "./command.ts";
import { createModel, type Model } from "./model.ts";
import { createWorld, type World } from "./world.ts";

const { MODEL_SEED, MODEL_PATH, MODEL_REPLAY, MODEL_MINUTES } = process.env;
const minutes = Number(MODEL_MINUTES || 0);
const isLong = minutes > 0;

export const timeout = isLong ? minutes * 60_000 + 300_000 : 120_000;

export interface Histories {
  /** What must not be left to chance: runs first. */
  first: fc.Arbitrary<Iterable<Command>>;
  /** What may happen, in any order. */
  commands: fc.Arbitrary<Command>[];
  /** What must be true in the end. */
  check: (model: Model, world: World) => Promise<void>;
  /** For so long new histories are begun in `npm test`. */
  shortMs: number;
}

export async function runHistories(choose: (isLong: boolean) => Histories): Promise<void> {
  const { first, commands, check, shortMs } = choose(isLong);
  const world = await createWorld({ isLong });
  const seed = Number(MODEL_SEED || Date.now() % 2 ** 31);
  const run = async (some: Iterable<Command>): Promise<void> => {
    const model = createModel();
    await fc.asyncModelRun(() => ({ model, real: world }), some);
    await check(model, world);
  };
  console.info(`MODEL_SEED=${seed}`);
  const endOnFailure = !isLong;
  const histories = fc.commands(commands, {
    maxCommands: isLong ? 80 : 40,
    size: "max",
    ...(MODEL_REPLAY && { replayPath: MODEL_REPLAY }),
  });
  if (MODEL_PATH) {
    await fc.assert(fc.asyncProperty(histories, run), { seed, path: MODEL_PATH, endOnFailure });
    return;
  }
  await fc.assert(fc.asyncProperty(first, run), { seed, numRuns: 1, endOnFailure: true });
  // One by one, so that time ends between two and never within one.
  const endsAtMs = Date.now() + (isLong ? minutes * 60_000 : shortMs);
  for (let next = seed; Date.now() < endsAtMs; next += 1) {
    await fc.assert(fc.asyncProperty(histories, run), { seed: next, numRuns: 1, endOnFailure });
  }
  console.info([...ran].map(([name, times]) => `${name} ${times}`).join(", "));
}
