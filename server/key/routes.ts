/** Routes for API keys and for the record of changes. For the merchant's backend only. A key's secret is shown when it is created, and never again. */
import type { FastifyInstance } from "fastify";
import type pg from "pg";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { HubError } from "../errors.ts";
import { parseInput } from "../validation.ts";
import { listAudit } from "./audit-list.ts";
import * as route from "./route-schema.ts";
import type { Keys } from "./store.ts";

const idShape = z.uuid();

export function keyRoutes(
  app: FastifyInstance,
  { access, keys, pool }: { access: Access; keys: Keys; pool: pg.Pool },
): void {
  const onRequest = merchantOnly(access);

  app.post("/v1/keys", { ...route.createKey, onRequest }, async (request, reply) => {
    const created = await keys.create(parseInput(route.keyDraft, request.body));
    request.subject = created.key.id;
    return reply.code(201).send(created);
  });

  app.get("/v1/keys", { ...route.listKeys, onRequest }, async () => ({ data: await keys.list() }));

  app.delete<{ Params: { id: string } }>("/v1/keys/:id", { ...route.revokeKey, onRequest }, async (request, reply) => {
    const { id } = request.params;
    if (!idShape.safeParse(id).success) throw new HubError("key_unknown");
    await keys.revoke(id);
    return reply.code(204).send();
  });

  app.get("/v1/audit", { ...route.listAudit, onRequest }, async (request) =>
    listAudit(pool, parseInput(route.auditFilter, request.query)),
  );
}
