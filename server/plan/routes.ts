/** Routes for plans. For the merchant's backend only. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { HubError } from "../errors.ts";
import { refuseWhileDraining } from "../http/scope.ts";
import { orderIdText } from "../order-id.ts";
import { parseInput, readIdempotencyKey, text, wholeText } from "../validation.ts";
import type { Plans } from "./plan.ts";
import * as route from "./route-schema.ts";
import { planStatuses } from "./row.ts";

export interface PlanRoutesOptions {
  access: Access;
  plans: Plans;
  tokens: Pick<WatchTokens, "issue">;
  isDraining: () => boolean;
  /** Moves the time of plans and returns the new one. Absent on a node with a live provider. */
  advanceClock?: ((body: unknown) => Promise<Date>) | undefined;
}

const planFilter = z.strictObject({
  status: z
    .enum(planStatuses)
    .meta({ description: "Only plans with this status now.", examples: ["past_due"] })
    .optional(),
  cursor: text(500).describe("The `nextCursor` of the previous page.").optional(),
  limit: wholeText(1, 100, { description: "Plans in a page.", examples: [20] }).default(20),
});

type PlanParams = { Params: { planId: string } };

/** Throws `plan_unknown` for an id that no plan can have. */
function idOf({ params }: { params: { planId: string } }): string {
  if (!orderIdText.safeParse(params.planId).success) throw new HubError("plan_unknown");
  return params.planId;
}

/** Adds the routes. All of them need the API key. */
export function planRoutes(app: FastifyInstance, options: PlanRoutesOptions): void {
  const { access, plans, advanceClock } = options;
  const onRequest = merchantOnly(access);

  app.post("/v1/plans", { ...route.createPlan, onRequest }, async (request, reply) => {
    const key = readIdempotencyKey(request.headers["idempotency-key"]);
    const { plan, isReplayed } = await plans.create(request.body, key);
    request.subject = plan.planId;
    if (isReplayed) reply.header("idempotency-replayed", "true");
    return reply.code(201).send({ plan });
  });

  app.get("/v1/plans", { ...route.listPlans(planFilter), onRequest }, async (request) =>
    plans.list(parseInput(planFilter, request.query)),
  );

  app.get<PlanParams>("/v1/plans/:planId", { ...route.readPlan, onRequest }, async (request) => ({
    plan: await plans.read(idOf(request)),
  }));

  app.post<PlanParams>("/v1/plans/:planId/pause", { ...route.pausePlan, onRequest }, async (request) => ({
    plan: await plans.pause(idOf(request)),
  }));

  app.post<PlanParams>("/v1/plans/:planId/resume", { ...route.resumePlan, onRequest }, async (request) => ({
    plan: await plans.resume(idOf(request)),
  }));

  app.post<PlanParams>("/v1/plans/:planId/cancel", { ...route.cancelPlan, onRequest }, async (request) => ({
    plan: await plans.cancel(idOf(request)),
  }));

  // In a scope, because its hook is for this route only.
  app.register(async (scope) => {
    refuseWhileDraining(scope, options.isDraining);
    scope.post<PlanParams>("/v1/plans/:planId/pay", { ...route.payPlan, onRequest }, async (request, reply) => {
      const { body, headers } = request;
      const idempotencyKey = readIdempotencyKey(headers["idempotency-key"]);
      const { event, isReplayed } = await plans.pay(idOf(request), { body, idempotencyKey });
      if (isReplayed) reply.header("idempotency-replayed", "true");
      return reply.code(202).send({ order: event, ...options.tokens.issue(event) });
    });
  });

  if (advanceClock) {
    const config = { cors: false } as const;
    app.post("/sandbox/clock", { config, ...route.advanceClock, onRequest }, async ({ body }) => ({
      now: await advanceClock(body),
    }));
  }
}
