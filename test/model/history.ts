/**
 * Runs random histories against a model. A failing run prints a seed and a path; `MODEL_SEED=… MODEL_PATH=…
 * MODEL_REPLAY=…` with its test file repeats it. `MODEL_MINUTES` starts a long run (`npm run test:soak`), in which
 * PostgreSQL restarts instead of losing its connections.
 */
import fc from "fast-check";
import { type Command, ran } from "./command.ts";
import { createModel, type Model } from "./model.ts";
import { createWorld, type World } from "./world.ts";

const { MODEL_SEED, MODEL_PATH, MODEL_REPLAY, MODEL_MINUTES } = process.env;
const minutes = Number(MODEL_MINUTES || 0);
export const isLong = minutes > 0;

export const timeout = isLong ? minutes * 60_000 + 300_000 : 120_000;

export interface Histories {
  /** The fixed history that runs first, so that every kind of command runs at least once. */
  first: fc.Arbitrary<Iterable<Command>>;
  /** The commands of random histories. */
  commands: fc.Arbitrary<Command>[];
  /** Checks the invariants after each history. */
  check: (model: Model, world: World) => Promise<void>;
  /** How long `npm test` starts new histories, in milliseconds. */
  shortMs: number;
}

export async function runHistories(choose: (isLong: boolean) => Histories): Promise<void> {
  const { first, commands, check, shortMs } = choose(isLong);
  const world = await createWorld({ isLong });
  const run = async (some: Iterable<Command>): Promise<void> => {
    const model = createModel();
    await fc.asyncModelRun(() => ({ model, real: world }), some);
    await check(model, world);
  };
  const histories = fc.commands(commands, {
    maxCommands: isLong ? 80 : 40,
    size: "max",
    ...(MODEL_REPLAY && { replayPath: MODEL_REPLAY }),
  });
  await runProperty({ first: [fc.asyncProperty(first, run)], property: fc.asyncProperty(histories, run), shortMs });
  console.info([...ran].map(([name, times]) => `${name} ${times}`).join(", "));
}

export interface RandomRuns<T> {
  /** Fixed histories, which run first. */
  first: fc.IAsyncProperty<T>[];
  property: fc.IAsyncProperty<T>;
  shortMs: number;
}

/** Prints the seed and runs random histories, or repeats the one of `MODEL_PATH`. */
export async function runProperty<T>({ first, property, shortMs }: RandomRuns<T>): Promise<void> {
  const seed = Number(MODEL_SEED || Date.now() % 2 ** 31);
  console.info(`MODEL_SEED=${seed}`);
  const endOnFailure = !isLong;
  if (MODEL_PATH) {
    await fc.assert(property, { seed, path: MODEL_PATH, endOnFailure });
    return;
  }
  for (const one of first) await fc.assert(one, { seed, numRuns: 1, endOnFailure: true });
  // One history per call, so that the time limit never ends a history in the middle.
  const endsAtMs = Date.now() + (isLong ? minutes * 60_000 : shortMs);
  for (let next = seed; Date.now() < endsAtMs; next += 1) {
    await fc.assert(property, { seed: next, numRuns: 1, endOnFailure });
  }
}
