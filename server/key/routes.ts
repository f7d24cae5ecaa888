/** Routes for API keys. For the merchant's backend only. A key's secret is shown when it is created, and never again. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { HubError } from "../errors.ts";
import { parseInput } from "../validation.ts";
import * as route from "./route-schema.ts";
import type { Keys } from "./store.ts";

const idShape = z.uuid();

export function keyRoutes(app: FastifyInstance, { access, keys }: { access: Access; keys: Keys }): void {
  const onRequest = merchantOnly(access);

  app.post("/v1/keys", { ...route.createKey, onRequest }, async (request, reply) =>
    reply.code(201).send(await keys.create(parseInput(route.keyDraft, request.body))),
  );

  app.get("/v1/keys", { ...route.listKeys, onRequest }, async () => ({ data: await keys.list() }));

  app.delete<{ Params: { id: string } }>("/v1/keys/:id", { ...route.revokeKey, onRequest }, async (request, reply) => {
    const { id } = request.params;
    if (!idShape.safeParse(id).success) throw new HubError("key_unknown");
    await keys.revoke(id);
    return reply.code(204).send();
  });
}
