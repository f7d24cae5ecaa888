/** The calls about plans: instalments and subscriptions. */
import { randomUUID } from "node:crypto";
import type { Client as Api } from "openapi-fetch";
import type { Caller, CallOptions, CreateOptions } from "./call.ts";
import { createList, type List } from "./list.ts";
import type * as model from "./model.ts";
import type { paths } from "./schema.ts";

export interface Plans {
  /** Creates a plan with its instalments. Give the `url` of one to the payer. */
  create(request: model.PlanRequest, options?: CreateOptions): Promise<model.Plan>;
  list(filter?: model.PlanFilter, options?: CallOptions): List<model.Plan>;
  read(planId: string, options?: CallOptions): Promise<model.Plan>;
  /** Stops the clock of a plan. Its instalments can still be paid. */
  pause(planId: string, options?: CallOptions): Promise<model.Plan>;
  resume(planId: string, options?: CallOptions): Promise<model.Plan>;
  /** Prompts the customer for the oldest open instalment, or for all up to `n`. */
  pay(planId: string, request?: model.PlanPaymentRequest, options?: CreateOptions): Promise<model.StartedPayment>;
  /** Cancels a plan with its open instalments. */
  cancel(planId: string, options?: CallOptions): Promise<model.Plan>;
}

export const createPlans = ({ api, repeat, once }: Caller & { api: Api<paths> }): Plans => ({
  async create(body, { idempotencyKey = randomUUID(), ...options } = {}) {
    const params = { header: { "Idempotency-Key": idempotencyKey } };
    return (await repeat((init) => api.POST("/v1/plans", { ...init, params, body }), options)).plan;
  },
  list: (filter = {}, options) =>
    createList((cursor) => {
      const params = { query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/plans", { ...init, params }), options);
    }, filter.cursor),
  async read(planId, options) {
    const params = { path: { planId } };
    return (await repeat((init) => api.GET("/v1/plans/{planId}", { ...init, params }), options)).plan;
  },
  async pause(planId, options) {
    const params = { path: { planId } };
    return (await once((init) => api.POST("/v1/plans/{planId}/pause", { ...init, params }), options)).plan;
  },
  async resume(planId, options) {
    const params = { path: { planId } };
    return (await once((init) => api.POST("/v1/plans/{planId}/resume", { ...init, params }), options)).plan;
  },
  pay(planId, body = {}, { idempotencyKey = randomUUID(), ...options } = {}) {
    const params = { path: { planId }, header: { "Idempotency-Key": idempotencyKey } };
    return repeat((init) => api.POST("/v1/plans/{planId}/pay", { ...init, params, body }), options);
  },
  async cancel(planId, options) {
    const params = { path: { planId } };
    return (await once((init) => api.POST("/v1/plans/{planId}/cancel", { ...init, params }), options)).plan;
  },
});
