/** Creates the parts of plans, and starts the loop that makes them follow their instalments and the clock. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import { createSealer } from "../auth/keys.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import type { ShopBrand } from "../config/shop.ts";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { startLoop } from "../loop.ts";
import { createProviderLimit, type PageLimits } from "../payment-link/open.ts";
import { resealTokens } from "../payment-link/reseal.ts";
import { type EnabledProvider, modeOf } from "../provider/enabled.ts";
import type { Counter } from "../rate-limit.ts";
import { advanceClock, readNow, resetClock } from "./clock.ts";
import { collectDuePlans } from "./collect.ts";
import { growDuePlans } from "./grow.ts";
import { planPageRoutes } from "./page-routes.ts";
import type { ViewOptions } from "./page-state.ts";
import { createPlans, type Plans, type PlansOptions } from "./plan.ts";
import { planRoutes } from "./routes.ts";
import type { Plan } from "./row.ts";
import { settleDuePlans } from "./settle.ts";
import { addMissingTokens, planTokens } from "./token.ts";

export interface OpenPlansOptions extends Omit<PlansOptions, "pool">, ViewOptions {
  database: Database;
  /** The node's `TUKIO_SECRET`s. */
  secrets: readonly string[];
  enabledProviders: readonly EnabledProvider[];
  shop: ShopBrand;
  tokens: Pick<WatchTokens, "issue">;
  isDraining: () => boolean;
  counter: Counter;
  limit: Pick<PageLimits, "pagePhone" | "pageProvider">;
  log: FastifyBaseLogger;
}

export interface OpenPlans extends Pick<Plans, "states"> {
  /** Creates a plan. Throws the errors that `POST /v1/plans` answers. */
  create(body: unknown): Promise<Plan>;
  /** The time of plans. */
  readNow(): Promise<Date>;
  /** Moves the time of plans and returns the new one. Absent on a node with a live provider. */
  advanceClock?: (body: unknown) => Promise<Date>;
  /** Adds the merchant's routes. */
  addRoutes(scope: FastifyInstance, access: Access): void;
  /** Adds the payer's page, in a scope of its own. */
  addPage(app: FastifyInstance): Promise<void>;
  close(): Promise<void>;
}

export function openPlans(options: OpenPlansOptions): OpenPlans {
  const { database, enabledProviders, shop, publicUrl } = options;
  const { pool } = database;
  const plans = createPlans({ ...options, pool });
  const page = {
    ...options,
    pool,
    linkUpTo: plans.linkUpTo,
    shop: () => ({ ...shop, name: shop.name ?? new URL(publicUrl()).host }),
  };
  const isSandbox = enabledProviders.length > 0 && enabledProviders.every((one) => modeOf(one) === "sandbox");
  const settling = startSettling({ ...options, isSandbox });
  const advance = async (body: unknown): Promise<Date> => {
    const now = await advanceClock(pool, body);
    settling.runNow();
    return now;
  };
  return {
    states: plans.states,
    create: async (body) => (await plans.create(body)).plan,
    readNow: () => readNow(pool),
    ...(isSandbox && { advanceClock: advance }),
    addRoutes: (scope, access) =>
      planRoutes(scope, { ...options, access, plans, advanceClock: isSandbox ? advance : undefined }),
    addPage: async (app) => void (await app.register(async (scope) => planPageRoutes(scope, page))),
    close: settling.close,
  };
}

/** 1 s, because a reader of a plan settles it first anyway. */
const settleMs = 1_000;

function startSettling(options: OpenPlansOptions & { isSandbox: boolean }) {
  const { sealer, secrets, onChange, isSandbox, isDraining, counter, limit, log } = options;
  const { pool } = options.database;
  const providers = createProviderLimit(counter, limit);
  const collecting = {
    ...options,
    pool,
    admit: (provider: string) => providers.take(provider),
    // Test numbers are no phones, and the clock of the sandbox lets a month pass in a second.
    phoneMax: isSandbox ? undefined : limit.pagePhone,
  };
  // Only a rotation needs it.
  let isResealed = secrets.length < 2;
  let isUnfinished = false;
  let isClockKnown = isSandbox;
  return startLoop({
    async task() {
      if (!isResealed) await resealTokens(pool, { sealer, newest: createSealer(secrets.slice(0, 1)) }, planTokens);
      isResealed = true;
      // The database may have been a sandbox's before.
      if (!isClockKnown) await resetClock(pool);
      isClockKnown = true;
      const results = [
        await addMissingTokens(pool, sealer),
        await growDuePlans(pool, sealer),
        await settleDuePlans(pool),
        ...(isDraining() ? [] : [await collectDuePlans(collecting)]),
      ];
      isUnfinished = results.some((result) => result.isUnfinished);
      if (results.some(({ changed }) => changed > 0)) onChange();
    },
    delayMs: () => (isUnfinished ? 0 : settleMs),
    ...reportTask(log, "plans"),
  });
}
