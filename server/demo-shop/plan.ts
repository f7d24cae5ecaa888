/**
 * "In three instalments": the routes by which the shop's page creates a plan for an item, the first instalment due now, and moves the time of
 * plans. A browser without scripts sends a form, and is redirected.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { acceptForms } from "../http/form.ts";
import { phoneLengthMax } from "../phone-text.ts";
import type { OpenPlans } from "../plan/open.ts";
import { type Provider, requireProvider } from "../provider/provider.ts";
import { parseInput } from "../validation.ts";
import { currencyOf, itemIds, items } from "./catalogue.ts";
import { newOrderId, shopName } from "./order.ts";
import { homeOf } from "./own-page.ts";

export interface PlanRoutesOptions {
  /** The sandboxes. */
  providers: ReadonlyMap<string, Provider>;
  plans: Pick<OpenPlans, "create" | "readNow" | "advanceClock">;
  /** Base of the shop's own URLs. */
  publicUrl: () => string;
  onRequest: (request: FastifyRequest) => Promise<void>;
}

/** 31 days, because a month of the clock, which counts in UTC, may end a day before that of the plan. */
const month = "P31D";

const planBody = z.strictObject({
  item: z.enum(itemIds),
  /** Default: the first one that the shop offers. The payer of the plan may use another one. */
  provider: z.string().optional(),
  phone: z.string().max(phoneLengthMax).optional(),
});

/** Adds the routes to a scope of their own. */
export async function planRoutes(app: FastifyInstance, options: PlanRoutesOptions): Promise<void> {
  const { plans, publicUrl, onRequest } = options;
  acceptForms(app);

  app.post("/shop/plans", { onRequest }, async (request, reply) => {
    const plan = await plans.create(toPlan(parseInput(planBody, fieldsOf(request)), options, await plans.readNow()));
    if (plan.url === undefined) throw new HubError("not_ready");
    const path = new URL(plan.url).pathname.replace(/^.*\/(?=plan\/)/, "");
    // Relative, because a proxy may serve the node below a path.
    if (request.body instanceof URLSearchParams) return reply.redirect(`../${path}`, 303);
    return reply.code(201).send({ url: `${homeOf(request, publicUrl())}/${path}` });
  });

  const { advanceClock } = plans;
  if (!advanceClock) return;
  app.post("/shop/plan-clock", { onRequest }, async () => ({ now: await advanceClock({ advance: month }) }));
}

const fieldsOf = ({ body }: FastifyRequest): unknown =>
  body instanceof URLSearchParams ? Object.fromEntries(body) : body;

/** The body of `POST /v1/plans`. Throws `currency_invalid` if the item has no price in the provider's currencies. */
function toPlan(body: z.infer<typeof planBody>, { providers }: PlanRoutesOptions, now: Date): object {
  const provider = requireProvider(providers, body.provider ?? [...providers.keys()][0] ?? "");
  const currency = currencyOf(provider);
  if (currency === undefined) throw new HubError("currency_invalid");
  const item = items[body.item];
  const planId = newOrderId();
  return {
    planId,
    kind: "instalments",
    currency,
    // Only this sandbox, so that no real money moves.
    provider: provider.name,
    customer: { id: planId, ...(body.phone && { phone: body.phone }) },
    description: item.name,
    schedule: {
      totalMinor: item.prices[currency],
      every: { months: 1 },
      count: 3,
      firstDueAt: now.toISOString(),
    },
    metadata: { item: item.id, merchant: shopName },
  };
}
