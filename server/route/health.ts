/** Whether this process lives, and whether it can take a webhook. */
import type { FastifyInstance } from "fastify";
import { schemaVersion } from "../database/migrate.ts";
import type { Database } from "../database/pool.ts";
import { alive, readiness } from "../schema/answer.ts";
import { described, openedBy } from "../schema/route.ts";
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

const live = described({
  operationId: "live",
  tag: "Operating",
  summary: "The process lives",
  security: openedBy.anybody,
  answers: { 200: { description: "It does.", schema: alive, example: { status: "ok" } } },
  problems: [],
});

const ready = described({
  operationId: "ready",
  tag: "Operating",
  summary: "This node can take a webhook",
  security: openedBy.anybody,
  answers: {
    200: {
      description: "It can.",
      schema: readiness,
      example: { status: "ok", postgres: "up", bus: "up", spool: "up", draining: false },
    },
    503: {
      description: "It cannot, is stopping, or needs a newer schema than the database has (`detail`).",
      schema: readiness,
      example: { status: "unavailable", postgres: "down", bus: "up", spool: "up", draining: false },
    },
  },
  problems: [],
});

/** Whoever supervises this process may share its address with anybody, and a refusal would have it killed. */
const config = { isLimited: false } as const;

export function healthRoutes(app: FastifyInstance, { database, bus, spool, isDraining }: HealthRoutesOptions): void {
  app.get("/livez", { config, ...live }, async () => ({ status: "ok" }));

  app.get("/readyz", { config, ...ready }, async (_request, reply) => {
    const found = await database.schemaVersion();
    const isStoreUp = found !== undefined;
    // Statements of this code fail on an older schema, so webhooks and payments would be answered 500.
    const isOutdated = isStoreUp && found < schemaVersion;
    const isReady = (isStoreUp || spool?.isWritable === true) && !isOutdated && !isDraining();
    return reply.code(isReady ? 200 : 503).send({
      status: isReady ? "ok" : "unavailable",
      postgres: isStoreUp ? "up" : "down",
      bus: bus.healthy ? "up" : "down",
      spool: spool ? (spool.isWritable ? "up" : "down") : "off",
      draining: isDraining(),
      ...(isOutdated && {
        detail: `The database has schema version ${found}, this node needs ${schemaVersion}: start a node of this version, which migrates it`,
      }),
    });
  });
}
