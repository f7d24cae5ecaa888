/** The names of the API's types. `schema.ts` has their fields, generated from the API docs. */
import type { components, operations } from "./schema.ts";

type Schemas = components["schemas"];
type QueryOf<Operation extends keyof operations> = NonNullable<operations[Operation]["parameters"]["query"]>;

export type Status = Schemas["Status"];
export type Reason = Schemas["Reason"];
export type Action = Schemas["Action"];
export type Result = Schemas["Result"];
export type Item = Schemas["Item"];
export type Problem = Schemas["Problem"];

/** The whole current state of one order, as payers see it too. */
export type StatusEvent = Schemas["StatusEvent"];
/** A state, with what only the merchant sees. */
export type MerchantOrder = Schemas["MerchantOrder"];
/** Everything about one order: its state, its payments and its history. */
export type Order = Schemas["Order"];
export type Payment = Schemas["Payment"];
/** A payment with its order's id, amount and currency. */
export type ListedPayment = Schemas["ListedPayment"];
/** What the provider said about a payment. */
export type Asked = Schemas["Asked"];
/** A webhook of a provider, redacted. */
export type InboxWebhook = Schemas["InboxWebhook"];
export type AppliedWebhook = Schemas["AppliedWebhook"];
export type Summary = Schemas["Summary"];
export type PastEvent = Schemas["PastEvent"];

/** The providers that this version knows. A newer server may have others. */
export type ProviderName = "daraja" | "payhero" | "lipana" | "zenopay" | "bkash" | "mtn" | (string & {});

export type PaymentRequest = Omit<Schemas["PaymentRequest"], "provider"> & { provider: ProviderName };
export type Customer = NonNullable<PaymentRequest["customer"]>;
export type StartedPayment = Schemas["StartedPayment"];
export type ResultRequest = Schemas["ResultRequest"];
export type Decision = Schemas["Decision"];
export type WatchToken = Schemas["WatchToken"];

export type PaymentLink = Schemas["PaymentLinkAnswer"]["paymentLink"];
export type PaymentLinkRequest = Schemas["PaymentLinkRequest"];

export type Plan = Schemas["PlanAnswer"]["plan"];
export type PlanRequest = Schemas["PlanRequest"];
export type PlanPaymentRequest = Schemas["PlanPaymentRequest"];

export type Provider = Omit<Schemas["ProviderList"]["data"][number], "name"> & { name: ProviderName };
export type AccessToken = Schemas["AccessToken"];
export type DoctorReport = Schemas["DoctorReport"];

export type ApiKey = Schemas["ApiKey"];
export type ApiKeyDraft = Schemas["ApiKeyDraft"];
export type AuditEntry = Schemas["AuditEntry"];
export type ApiKeyWithSecret = Schemas["ApiKeyWithSecret"];

export type Endpoint = Schemas["Endpoint"];
export type EndpointDraft = Schemas["EndpointDraft"];
export type EndpointChange = Schemas["EndpointChange"];
export type EndpointWithSecret = Schemas["EndpointWithSecret"];
export type Ping = Schemas["Ping"];
export type Delivery = Schemas["Delivery"];
export type ReplayRequest = Schemas["Replay"];
export type Notification = Schemas["Notification"];
export type OrderNotification = Schemas["OrderNotification"];
export type NotificationTest = Schemas["NotificationTest"];
export type NotificationTestResult = Schemas["NotificationTestResult"];
export type SentSms = Schemas["SentSms"];
export type NotificationName = Notification["name"];

export type Prompt = Schemas["Prompts"]["prompts"][number];
export type PromptAnswer = Schemas["PromptAnswer"]["answer"];

/** `limit` is the size of a page. */
export type PaymentLinkFilter = QueryOf<"listPaymentLinks">;
export type PlanFilter = QueryOf<"listPlans">;
export type AuditFilter = QueryOf<"listAudit">;
export type OrderFilter = QueryOf<"listOrders">;
export type OrderExportFilter = QueryOf<"exportOrders">;
export type WebhookFilter = QueryOf<"listWebhooks">;
export type SummaryFilter = QueryOf<"summarizePayments">;
export type PaymentFilter = QueryOf<"listPayments">;
export type PaymentExportFilter = QueryOf<"exportPayments">;
export type DeliveryFilter = QueryOf<"listDeliveries">;
export type EventFilter = QueryOf<"readEvents">;

/** A change of an order. `id` is the `webhook-id`: the same wherever the event is read, and for every attempt to deliver it. */
export interface OrderEvent {
  id: string;
  type: `order.${Status}` | "order.updated";
  /** When the state began. ISO 8601, UTC. */
  timestamp: string;
  data: { order: MerchantOrder };
}

/** A message about an endpoint: another one was disabled, or you asked for a ping. */
export interface EndpointEvent {
  id: string;
  type: "endpoint.disabled" | "ping";
  timestamp: string;
  data: { endpoint: Endpoint };
}

/** A payment link was created, or entered this status. */
export interface PaymentLinkEvent {
  id: string;
  type: "paymentLink.open" | "paymentLink.paid" | "paymentLink.cancelled" | "paymentLink.expired";
  timestamp: string;
  data: { paymentLink: PaymentLink };
}

/** A plan changed; its status, its start or else anything of it. */
export interface PlanEvent {
  id: string;
  type: `plan.${Plan["status"]}` | "plan.started" | "plan.updated";
  timestamp: string;
  data: { plan: Plan };
}

/** An event, told apart by its `type`. New types may be added: ignore those that you do not handle. */
export type TukioEvent = OrderEvent | PaymentLinkEvent | PlanEvent | EndpointEvent;

export type EventType = TukioEvent["type"];
