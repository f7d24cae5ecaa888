/** Creates the parts of plans, and starts the loop that makes them follow their instalments and the clock. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import { createSealer } from "../auth/keys.ts";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { startLoop } from "../loop.ts";
import { resealTokens } from "../payment-link/reseal.ts";
import { growDuePlans } from "./grow.ts";
import { createPlans, type Plans, type PlansOptions } from "./plan.ts";
import { planRoutes } from "./routes.ts";
import { settleDuePlans } from "./settle.ts";
import { addMissingTokens, planTokens } from "./token.ts";

export interface OpenPlansOptions extends Omit<PlansOptions, "pool"> {
  database: Database;
  /** The node's `TUKIO_SECRET`s. */
  secrets: readonly string[];
  log: FastifyBaseLogger;
}

export interface OpenPlans extends Pick<Plans, "states"> {
  /** Adds the merchant's routes. */
  addRoutes(scope: FastifyInstance, access: Access): void;
  close(): Promise<void>;
}

export function openPlans(options: OpenPlansOptions): OpenPlans {
  const plans = createPlans({ ...options, pool: options.database.pool });
  return {
    states: plans.states,
    addRoutes: (scope, access) => planRoutes(scope, { access, plans }),
    close: startSettling(options).close,
  };
}

/** 1 s, because a reader of a plan settles it first anyway. */
const settleMs = 1_000;

function startSettling({ database: { pool }, sealer, secrets, onChange, log }: OpenPlansOptions) {
  // Only a rotation needs it.
  let isResealed = secrets.length < 2;
  let isUnfinished = false;
  return startLoop({
    async task() {
      if (!isResealed) await resealTokens(pool, { sealer, newest: createSealer(secrets.slice(0, 1)) }, planTokens);
      isResealed = true;
      const results = [
        await addMissingTokens(pool, sealer),
        await growDuePlans(pool, sealer),
        await settleDuePlans(pool),
      ];
      isUnfinished = results.some((result) => result.isUnfinished);
      if (results.some(({ changed }) => changed > 0)) onChange();
    },
    delayMs: () => (isUnfinished ? 0 : settleMs),
    ...reportTask(log, "plans"),
  });
}
