/** Creates the notifications of a node: their receivers, their pages and the merchant's routes. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import type { UrlSecrets } from "../auth/keys.ts";
import type { MailSettings } from "../config/mail.ts";
import type { ShopBrand } from "../config/shop.ts";
import type { SmsConfig } from "../config/sms.ts";
import type { Database } from "../database/pool.ts";
import type { Notification } from "../delivery/notification.ts";
import type { Receiver } from "../delivery/receiver.ts";
import { HubError } from "../errors.ts";
import { reportTask } from "../log.ts";
import { createOrderQuery } from "../order/query.ts";
import type { ShopView } from "../page/shop.ts";
import { type EnabledProvider, modeOf, sandboxesOf } from "../provider/enabled.ts";
import { createInboxClient } from "../sandbox/inbox-client.ts";
import type { SandboxedGateway } from "../sandbox/server.ts";
import { createAlert } from "./alert/alert.ts";
import { type AlertWatch, createAlertWatch } from "./alert/watch.ts";
import { createMailer } from "./mail/mailer.ts";
import { createReceipt } from "./receipt.ts";
import { receiptRoutes } from "./receipt-routes.ts";
import { notificationRoutes } from "./routes.ts";
import type { SmsGateway } from "./sms/gateway.ts";
import { openSms } from "./sms/open.ts";
import type { ReportRouteOptions } from "./sms/report-route.ts";

export interface OpenNotificationsOptions extends MailSettings {
  urlSecrets: { webhook: UrlSecrets };
  /** Whether another node may accept a secret that this node does not. */
  isBlocked: () => boolean;
  sms?: SmsConfig;
  database: Database;
  enabledProviders: readonly EnabledProvider[];
  shop: ShopBrand;
  publicUrl: () => string;
  /** The base URL of this node on this machine. */
  selfUrl: () => string;
  /** The node's `TUKIO_SECRET`s. */
  secrets: readonly string[];
  /** Called after all parts exist. */
  delivery: () => { wake(): void };
  log: FastifyBaseLogger;
}

export interface OpenNotifications {
  /** Those that this node sends, for the delivery engine. */
  readonly active: readonly Notification[];
  /** Raises alerts about what the node reports. */
  readonly alerts: AlertWatch;
  /** The SMS gateway of live payments. */
  readonly smsGateway: SmsGateway | undefined;
  /** The sandboxes of SMS gateways. */
  readonly gateways: readonly SandboxedGateway[];
  /** Adds the pages and the route for delivery reports. `admit` counts a request of an unauthenticated client. */
  addPage(app: FastifyInstance, admit: ReportRouteOptions["admit"]): Promise<void>;
  /** Adds the merchant's routes. */
  addRoutes(scope: FastifyInstance, access: Access): void;
  close(): Promise<void>;
}

export function openNotifications(options: OpenNotificationsOptions): OpenNotifications {
  const { database, enabledProviders, publicUrl, selfUrl, secrets, merchantEmail, log } = options;
  const { pool, deliveryPool } = database;
  const query = createOrderQuery(database);
  const host = (): string => new URL(publicUrl()).hostname;
  const shop = (): ShopView => ({ ...options.shop, name: options.shop.name ?? new URL(publicUrl()).host });
  const hasSandbox = sandboxesOf(enabledProviders).length > 0;
  const postToInbox = hasSandbox ? createInboxClient({ hubUrl: selfUrl, secrets }) : undefined;
  const mailer = createMailer({ mail: options.mail, postToInbox, host });
  const parts = { pool: deliveryPool, mailer, shop, publicUrl, merchantEmail };
  const urlSecrets = options.urlSecrets.webhook;
  const sms = openSms({ ...options, urlSecrets, hasSandbox, shopName: () => shop().name });
  const isMailed = options.mail !== undefined && merchantEmail !== undefined;
  const { raise, ...alert } = createAlert(parts);
  const wake = (): void => options.delivery().wake();
  // One line for each notification: whether live payments use it, and its receiver.
  const all = [
    { isLive: options.mail !== undefined, ...createReceipt(parts) },
    { isLive: isMailed, ...alert },
    { isLive: options.sms !== undefined, reportUrl: sms.reportUrl, ...sms.notification },
  ];
  const active = all
    .filter(({ isLive }) => isLive || hasSandbox)
    .map((one) => ({ ...one, receive: guarded(one.receive, { name: one.name, log }) }));
  const alerts = createAlertWatch({
    raise: (one) => raise(one).then(wake),
    isLive: (provider) => enabledProviders.some((one) => one.name === provider && modeOf(one) === "live"),
    isMailed,
    onError: reportTask(log, "alert").onError,
  });
  return {
    active,
    alerts,
    smsGateway: sms.live,
    gateways: sms.gateways,
    async addPage(app, admit) {
      sms.addRoute(app, { admit, isBlocked: options.isBlocked });
      await app.register(async (scope) => receiptRoutes(scope, { pool, shop }));
    },
    addRoutes: (scope, access) => notificationRoutes(scope, { pool, access, active, query, wake }),
    async close() {
      mailer.close();
      await sms.close();
    },
  };
}

/** 5 s, as after the first failure of an attempt. */
const unavailableMs = 5_000;

/** A receiver must not throw, or its delivery would be due again at once. */
const guarded =
  (receive: Receiver, { name, log }: { name: string; log: FastifyBaseLogger }): Receiver =>
  async (message, signal, claimed) => {
    try {
      return await receive(message, signal, claimed);
    } catch (err) {
      if (signal.aborted) throw err;
      if (err instanceof HubError) return { deferMs: unavailableMs };
      log.error({ event: "notification.failed", notification: name, err }, "A notification could not be prepared");
      return { isDelivered: false, isGone: false, durationMs: 0, error: "internal" };
    }
  };
