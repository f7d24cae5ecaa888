/** Plans for tests. */
import { expect } from "vitest";
import type { Plan } from "../../server/plan/row.ts";
import { type Answer, asMerchant, type TestNode } from "./node.ts";
import { nextOrderId } from "./store.ts";

const dayMs = 86_400_000;

/** A time so many days from now; negative: ago. */
export const inDays = (days: number): string => new Date(Date.now() + days * dayMs).toISOString();

/** Three instalments of 100 shillings, a month apart, the first due now. */
export const planBody = (fields: Record<string, unknown> = {}): Record<string, unknown> => ({
  planId: nextOrderId(),
  kind: "instalments",
  currency: "KES",
  customer: { id: nextOrderId(), phone: "0712345678" },
  schedule: { amountMinor: 10_000, every: { months: 1 }, count: 3, firstDueAt: inDays(0) },
  ...fields,
});

export const planOf = ({ body }: Answer): Plan => (body as unknown as { plan: Plan }).plan;

export async function createPlan(node: TestNode, fields: Record<string, unknown> = {}): Promise<Plan> {
  const answer = await asMerchant(node, "/v1/plans", planBody(fields));
  expect(answer).toMatchObject({ status: 201 });
  return planOf(answer);
}

export const readPlan = async (node: TestNode, planId: string): Promise<Plan> =>
  planOf(await asMerchant(node, `/v1/plans/${planId}`));

export const changePlan = (node: TestNode, planId: string, change: "pause" | "resume" | "cancel"): Promise<Answer> =>
  asMerchant(node, `/v1/plans/${planId}/${change}`, {});

/** Moves the time of plans in the sandbox. Returns the new time. */
export async function advance(node: Pick<TestNode, "url">, duration: string): Promise<Date> {
  const answer = await asMerchant(node, "/sandbox/clock", { advance: duration });
  expect(answer).toMatchObject({ status: 200 });
  return new Date((answer.body as unknown as { now: string }).now);
}
