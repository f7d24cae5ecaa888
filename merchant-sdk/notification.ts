/** The calls about notifications: messages to payers and to the merchant. */
import type { Client as Api } from "openapi-fetch";
import type { Caller, CallOptions, Init } from "./call.ts";
import { createList, type List } from "./list.ts";
import type * as model from "./model.ts";
import type { paths } from "./schema.ts";

export interface Notifications {
  /** Lists the active notifications. */
  list(options?: CallOptions): Promise<model.Notification[]>;
  /** The attempts of the last 30 days; with `status: "pending"`, what is due. */
  deliveries(name: model.NotificationName, filter?: model.DeliveryFilter, options?: CallOptions): List<model.Delivery>;
  /** What each notification has sent about an order. */
  ofOrder(orderId: string, options?: CallOptions): Promise<model.OrderNotification[]>;
  /** Sends a test mail or SMS now. Returns the answer of the mail server or the gateway. */
  test(
    name: model.NotificationName,
    request?: model.NotificationTest,
    options?: CallOptions,
  ): Promise<model.NotificationTestResult>;
  /** Sends notifications about many orders again. Returns how many. */
  replay(name: model.NotificationName, request: model.ReplayRequest, options?: CallOptions): Promise<number>;
  /** Sends a notification about one order again. */
  send(orderId: string, name: model.NotificationName, options?: CallOptions): Promise<void>;
}

export const createNotifications = ({ api, repeat, once }: Caller & { api: Api<paths> }): Notifications => ({
  list: async (options) => (await repeat((init) => api.GET("/v1/notifications", { ...init }), options)).data,
  deliveries: (name, filter = {}, options) =>
    createList((cursor) => {
      const params = { path: { name }, query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/notifications/{name}/deliveries", { ...init, params }), options);
    }, filter.cursor),
  async ofOrder(orderId, options) {
    const params = { path: { orderId } };
    return (await repeat((init) => api.GET("/v1/orders/{orderId}/notifications", { ...init, params }), options)).data;
  },
  test: (name, body = {}, options) =>
    once((init) => api.POST("/v1/notifications/{name}/test", { ...init, params: { path: { name } }, body }), options),
  async replay(name, body, options) {
    const params = { path: { name } };
    const call = (init: Init) => api.POST("/v1/notifications/{name}/replay", { ...init, params, body });
    return (await once(call, options)).count;
  },
  async send(orderId, name, options) {
    const params = { path: { orderId, name } };
    await once((init) => api.POST("/v1/orders/{orderId}/notifications/{name}", { ...init, params }), options);
  },
});
