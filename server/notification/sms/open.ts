/** Creates the gateways for SMS, their sandboxes, and the notification that uses them. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { UrlSecrets } from "../../auth/keys.ts";
import type { SmsConfig } from "../../config/sms.ts";
import type { Database } from "../../database/pool.ts";
import { type Client, createClient } from "../../provider/http-client.ts";
import { gatewayAccount, type SandboxedGateway } from "../../sandbox/server.ts";
import type { OwnNotification } from "../notification.ts";
import { createAfricasTalking } from "./africastalking/adapter.ts";
import { africasTalkingSandbox } from "./africastalking/sandbox.ts";
import { createBeem } from "./beem/adapter.ts";
import { beemSandbox } from "./beem/sandbox.ts";
import type { SmsGateway, SmsGatewayName } from "./gateway.ts";
import { createHttpGateway } from "./http/adapter.ts";
import { httpGatewaySandbox } from "./http/sandbox.ts";
import { createSmsNotification } from "./notification.ts";
import { type ReportRouteOptions, reportPath, reportRoute } from "./report-route.ts";

export interface OpenSmsOptions {
  /** The gateway of live payments. */
  sms?: SmsConfig | undefined;
  /** Whether the node has sandboxes of providers, and so one of an SMS gateway. */
  hasSandbox: boolean;
  /** The node's `TUKIO_SECRET`s, from which the sandbox's account is derived. */
  secrets: readonly string[];
  urlSecrets: UrlSecrets;
  database: Pick<Database, "deliveryPool" | "pool">;
  /** Base URL by which the node reaches itself, where the sandbox is. */
  selfUrl: () => string;
  publicUrl: () => string;
  shopName: () => string;
  log: FastifyBaseLogger;
}

export interface OpenSms {
  notification: OwnNotification;
  /** The gateway of live payments. */
  live: SmsGateway | undefined;
  /** The sandboxes of gateways. */
  gateways: readonly SandboxedGateway[];
  /** The URL for delivery reports of the gateway of live payments; undefined without a gateway. */
  reportUrl(): string | undefined;
  addRoute(app: FastifyInstance, options: Pick<ReportRouteOptions, "admit" | "isBlocked">): void;
  close(): Promise<void>;
}

/** The gateway of the sandbox if none is configured. */
const defaultGateway: SmsGatewayName = "africastalking";

export function openSms(options: OpenSmsOptions): OpenSms {
  const { sms, hasSandbox, urlSecrets, database, publicUrl, shopName, log } = options;
  const client = createClient();
  const live = sms && createGateway(sms, client);
  const sandbox = hasSandbox ? createSandbox(sms?.provider ?? defaultGateway, { ...options, client }) : undefined;
  const gatewayOf = ({ isSandbox }: { isSandbox: boolean }): SmsGateway | undefined =>
    isSandbox ? sandbox?.gateway : live;
  return {
    live,
    notification: createSmsNotification({ pool: database.deliveryPool, gatewayOf, shopName, log }),
    gateways: sandbox ? [sandbox.sandboxed] : [],
    reportUrl: () => (sms ? publicUrl() + reportPath(urlSecrets, sms.provider) : undefined),
    addRoute: (app, { admit, isBlocked }) =>
      reportRoute(app, { pool: database.pool, secrets: urlSecrets, admit, isBlocked }),
    close: client.close,
  };
}

/** The gateway of live payments. */
function createGateway(config: SmsConfig, client: Client): SmsGateway {
  const { url, apiKey, from } = config;
  const baseUrl = (): string => url;
  switch (config.provider) {
    case "africastalking":
      return createAfricasTalking({ baseUrl, username: config.username, apiKey, from, client });
    case "beem":
      return createBeem({ baseUrl, apiKey, secretKey: config.apiSecret, from: config.from, client });
    case "http":
      return createHttpGateway({ url: baseUrl, apiKey, from, client });
  }
}

/** The sender in the sandbox if none is configured. */
const sandboxSender = "SHOP";

type SandboxOptions = OpenSmsOptions & { client: Client };

/** A sandbox, and the adapter that uses it. */
function createSandbox(
  name: SmsGatewayName,
  options: SandboxOptions,
): { gateway: SmsGateway; sandboxed: SandboxedGateway } {
  const { sms, secrets, urlSecrets, selfUrl, client } = options;
  const from = sms?.from;
  const baseUrl = (): string => `${selfUrl()}/sandbox/sms/${name}`;
  const reportUrl = (): URL => new URL(selfUrl() + reportPath(urlSecrets, name));
  if (name === "africastalking") {
    const sandbox = africasTalkingSandbox(reportUrl);
    const { USERNAME: username, API_KEY: apiKey } = gatewayAccount(name, sandbox, secrets);
    return {
      gateway: createAfricasTalking({ baseUrl, username, apiKey, from, client }),
      sandboxed: { name, sandbox },
    };
  }
  if (name === "beem") {
    const sandbox = beemSandbox(reportUrl);
    const { API_KEY: apiKey, SECRET_KEY: secretKey } = gatewayAccount(name, sandbox, secrets);
    return {
      gateway: createBeem({ baseUrl, apiKey, secretKey, from: from ?? sandboxSender, client }),
      sandboxed: { name, sandbox },
    };
  }
  const sandbox = httpGatewaySandbox(reportUrl);
  const { API_KEY: apiKey } = gatewayAccount(name, sandbox, secrets);
  return { gateway: createHttpGateway({ url: baseUrl, apiKey, from, client }), sandboxed: { name, sandbox } };
}
