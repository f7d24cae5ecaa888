/** Opens the API keys, the desk's sessions, and the record of changes. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import type { KeyRing } from "../auth/api-key.ts";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import type { Counter } from "../rate-limit.ts";
import { recordChanges } from "./audit.ts";
import { createKeyRing } from "./ring.ts";
import { keyRoutes } from "./routes.ts";
import { sessionRoutes } from "./session-routes.ts";
import { createKeys } from "./store.ts";

export interface KeysOptions {
  readonly apiKeys: readonly string[];
  readonly publicUrl?: string;
  app: FastifyInstance;
  database: Database;
  counter: Counter;
  log: FastifyBaseLogger;
}

export interface OpenKeys {
  ring: KeyRing;
  addRoutes(scope: FastifyInstance, access: Access): void;
  close(): Promise<void>;
}

/**
 * The keys are read before the server listens, so that the node knows them from its first answer on. Records the changes of the routes
 * that are added later.
 */
export function openKeys({ apiKeys, publicUrl, app, database, counter, log }: KeysOptions): OpenKeys {
  const ring = createKeyRing({ apiKeys, database, ...reportTask(log, "API keys") });
  app.addHook("onReady", ring.start);
  const recorder = recordChanges(app, { pool: database.pool, log });
  const keys = createKeys({ pool: database.pool, onChange: ring.refresh });
  return {
    ring,
    addRoutes(scope, access) {
      keyRoutes(scope, { access, keys, pool: database.pool });
      sessionRoutes(scope, { access, ring, keys, cookie: { publicUrl }, counter });
    },
    async close() {
      await recorder.close();
      await ring.close();
    },
  };
}
