/** Liveness and readiness of this node. */
import type { FastifyInstance } from "fastify";
import type { z } from "zod";
import type { SecretState } from "../auth/secret-comparison.ts";
import { schemaVersion } from "../database/migrate.ts";
import type { Database } from "../database/pool.ts";
import { alive, readiness } from "../schema/operating.ts";
import { described, openedBy } from "../schema/route.ts";
import type { StatusBus } from "../status/bus.ts";
import type { Spool } from "../webhook/spool.ts";

export interface HealthRoutesOptions {
  database: Database;
  bus: StatusBus;
  /** Stores webhooks while PostgreSQL is unreachable; undefined if the spool is off. */
  spool: Pick<Spool, "isWritable"> | undefined;
  secretComparison: { readonly state: SecretState };
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
      example: { status: "ok", postgres: "up", bus: "up", spool: "up", secrets: "ok", draining: false },
    },
    503: {
      description:
        "It cannot, it is shutting down, the database's schema is too old, its secrets conflict with those of a node that served first, or have not been compared yet (`detail`).",
      schema: readiness,
      example: { status: "unavailable", postgres: "down", bus: "up", spool: "down", secrets: "ok", draining: false },
    },
  },
  problems: [],
});

/** Not limited, because a supervisor may share its address with other clients and would kill the process after a refusal. */
const config = { isLimited: false } as const;

export function healthRoutes(app: FastifyInstance, options: HealthRoutesOptions): void {
  const { database, bus, spool, secretComparison, isDraining } = options;
  app.get("/livez", { config, ...live }, async () => ({ status: "ok" }));

  app.get("/readyz", { config, ...ready }, async (_request, reply) => {
    const answer = readinessOf({
      schema: await database.schemaVersion(),
      isBusUp: bus.healthy,
      spool: spoolState(spool),
      secrets: secretComparison.state,
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
  secrets: SecretState;
  isDraining: boolean;
}

/**
 * A node is ready if it can store a webhook, in PostgreSQL or in the spool, its secrets fit those of the nodes that served
 * first, and it is not shutting down.
 */
function readinessOf({ schema, isBusUp, spool, secrets, isDraining }: NodeState): z.infer<typeof readiness> {
  // Statements of this code fail on an older schema, so that webhooks and payments would be answered 500.
  const isOutdated = schema !== undefined && schema < schemaVersion;
  const canStore = schema !== undefined || spool === "up";
  const details = [
    ...(isOutdated
      ? [
          `The database has schema version ${schema}, this node needs ${schemaVersion}: start a node of this version, which migrates it`,
        ]
      : []),
    ...(secrets.isKnown ? [] : ["TUKIO_SECRET has not been compared with that of the other nodes yet"]),
    ...(secrets.conflicts > 0 ? [conflictDetail(secrets)] : []),
  ];
  return {
    status: canStore && !isOutdated && !secrets.isBlocked && !isDraining ? "ok" : "unavailable",
    postgres: schema === undefined ? "down" : "up",
    bus: isBusUp ? "up" : "down",
    spool,
    secrets: secretsText(secrets),
    draining: isDraining,
    ...(details.length > 0 && { detail: details.join(". ") }),
  };
}

function secretsText({ isKnown, conflicts }: SecretState): z.infer<typeof readiness>["secrets"] {
  if (!isKnown) return "unknown";
  return conflicts > 0 ? "conflict" : "ok";
}

/** Names no secret and no fingerprint, because the answer is public. */
function conflictDetail({ conflicts, isBlocked }: SecretState): string {
  const others = `TUKIO_SECRET differs from that of ${conflicts} other ${conflicts === 1 ? "node" : "nodes"}`;
  const consequence = isBlocked
    ? "this node is not ready, because another one served first"
    : "this node stays ready, because it served first";
  return `${others} in a way that makes honest webhooks fail; ${consequence}`;
}
