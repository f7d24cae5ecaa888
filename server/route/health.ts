/** Whether this process lives, and whether it can take a webhook. */
import type { FastifyInstance } from "fastify";
import type { Database } from "../database/pool.ts";
import type { StatusBus } from "../status/bus.ts";
import type { Spool } from "../webhook/spool.ts";

export interface HealthRoutesOptions {
  database: Database;
  bus: StatusBus;
  /** Where webhooks wait while the database is away, if anywhere. */
  spool: Pick<Spool, "isWritable"> | undefined;
  /** Whether this node is being stopped. */
  isDraining: () => boolean;
}

/** Whoever supervises this process may share its address with anybody, and a refusal would have it killed. */
const config = { isLimited: false } as const;

export function healthRoutes(app: FastifyInstance, { database, bus, spool, isDraining }: HealthRoutesOptions): void {
  app.get("/livez", { config }, async () => ({ status: "ok" }));

  app.get("/readyz", { config }, async (_request, reply) => {
    const isStoreUp = await database.isUp();
    const isReady = (isStoreUp || spool?.isWritable === true) && !isDraining();
    return reply.code(isReady ? 200 : 503).send({
      status: isReady ? "ok" : "unavailable",
      postgres: isStoreUp ? "up" : "down",
      bus: bus.healthy ? "up" : "down",
      spool: spool ? (spool.isWritable ? "up" : "down") : "off",
      draining: isDraining(),
    });
  });
}
