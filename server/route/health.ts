/** Liveness and readiness of this node. */
import type { FastifyInstance } from "fastify";
import type { z } from "zod";
import { schemaVersion } from "../database/migrate.ts";
import type { Database } from "../database/pool.ts";
import { alive, readiness } from "../schema/answer.ts";
import { described, openedBy } from "../schema/route.ts";
import type { StatusBus } from "../status/bus.ts";
import type { Spool } from "../webhook/spool.ts";

export interface HealthRoutesOptions {
  database: Database;
  bus: StatusBus;
  /** Stores webhooks while PostgreSQL is unreachable; undefined if the spool is off. */
  spool: Pick<Spool, "isWritable"> | undefined;
  /** Whether this node is shutting down. */
  isDraining: () => boolean;
}

const live = described({
  operationId: "live",
  tag: "Operating",
  summary: "Check that the process runs",
  security: openedBy.everyone,
  answers: { 200: { description: "It runs.", schema: alive, example: { status: "ok" } } },
  problems: [],
});

const ready = described({
  operationId: "ready",
  tag: "Operating",
  summary: "Check that this node can take a webhook",
  security: openedBy.everyone,
  answers: {
    200: {
      description: "It can.",
      schema: readiness,
      example: { status: "ok", postgres: "up", bus: "up", spool: "up", draining: false },
    },
    503: {
      description: "It cannot, it is shutting down, or the database's schema is too old (`detail`).",
      schema: readiness,
      example: { status: "unavailable", postgres: "down", bus: "up", spool: "up", draining: false },
    },
  },
  problems: [],
});

/** Not limited, because a supervisor may share its address with other clients and would kill the process after a refusal. */
const config = { isLimited: false } as const;

export function healthRoutes(app: FastifyInstance, { database, bus, spool, isDraining }: HealthRoutesOptions): void {
  app.get("/livez", { config, ...live }, async () => ({ status: "ok" }));

  app.get("/readyz", { config, ...ready }, async (_request, reply) => {
    const answer = readinessOf({
      schema: await database.schemaVersion(),
      isBusUp: bus.healthy,
      spool: spoolState(spool),
      isDraining: isDraining(),
    });
    return reply.code(answer.status === "ok" ? 200 : 503).send(answer);
  });
}

type SpoolState = "up" | "down" | "off";

function spoolState(spool: HealthRoutesOptions["spool"]): SpoolState {
  if (!spool) return "off";
  return spool.isWritable ? "up" : "down";
}

interface NodeState {
  /** The version of the database's schema; undefined while PostgreSQL is unreachable. */
  schema: number | undefined;
  isBusUp: boolean;
  spool: SpoolState;
  isDraining: boolean;
}

/** A node is ready if it can store a webhook, in PostgreSQL or in the spool, and is not shutting down. */
function readinessOf({ schema, isBusUp, spool, isDraining }: NodeState): z.infer<typeof readiness> {
  // Statements of this code fail on an older schema, so that webhooks and payments would be answered 500.
  const isOutdated = schema !== undefined && schema < schemaVersion;
  const canStore = schema !== undefined || spool === "up";
  return {
    status: canStore && !isOutdated && !isDraining ? "ok" : "unavailable",
    postgres: schema === undefined ? "down" : "up",
    bus: isBusUp ? "up" : "down",
    spool,
    draining: isDraining,
    ...(isOutdated && {
      detail: `The database has schema version ${schema}, this node needs ${schemaVersion}: start a node of this version, which migrates it`,
    }),
  };
}
