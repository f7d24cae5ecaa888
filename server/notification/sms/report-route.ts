/**
 * The route for delivery reports: `POST /webhooks/sms/:gateway/:secret`, a URL that the merchant enters in the gateway's dashboard.
 *
 * The secret of the URL is the proof. A request without it is counted for its address and refused before its body is read. A report changes
 * nothing but the status of one text, so that a forged one by a person who knows the URL moves no money and shows no data.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type pg from "pg";
import type { UrlSecrets } from "../../auth/keys.ts";
import { HubError, notReady } from "../../errors.ts";
import { described, openedBy } from "../../schema/route.ts";
import { readAfricasTalkingReport } from "./africastalking/adapter.ts";
import { readBeemReport } from "./beem/adapter.ts";
import { type DeliveryReport, type ReadReport, type SmsGatewayName, smsGatewayNames } from "./gateway.ts";
import { readHttpReport } from "./http/adapter.ts";
import { recordReport } from "./report.ts";

export interface ReportRouteOptions {
  pool: pg.Pool;
  secrets: UrlSecrets;
  /** Counts a request of an unauthenticated client. Throws `rate_limited`. */
  admit: (request: FastifyRequest) => Promise<void>;
  /** Other nodes may accept a secret that this node does not. */
  isBlocked: () => boolean;
  /** Waits until the text of a report that found none is looked for again. Tests set it. */
  pause?: () => Promise<unknown>;
}

const readers: Readonly<Record<SmsGatewayName, ReadReport>> = {
  africastalking: readAfricasTalkingReport,
  beem: readBeemReport,
  http: readHttpReport,
};

/** The URL has one secret for all texts, because dashboards have one URL for all. */
const anyText = "00000000-0000-0000-0000-000000000000";

const purposeOf = (gateway: SmsGatewayName): string => `sms/${gateway}`;

/** The path of the URL for the reports of a gateway. */
export const reportPath = (secrets: UrlSecrets, gateway: SmsGatewayName): string =>
  `/webhooks/sms/${gateway}/${secrets.seal(purposeOf(gateway), anyText)}`;

/** 16 KiB, because gateways send a few hundred bytes. */
const bodyLimit = 16_384;

/** 2 s, because a report may overtake the answer to its request, which has the text's reference. */
const overtakenMs = 2_000;

/** Reports that wait so at once; others are looked for once only. */
const waitingMax = 100;

const receiveReport = described({
  operationId: "receiveSmsReport",
  tag: "Called by providers",
  summary: "A delivery report of an SMS gateway",
  description:
    "You enter this URL in the gateway's dashboard; its secret is the proof. A report about an unknown text is acknowledged too, because the account may have other users.",
  security: openedBy.everyone,
  examples: {},
  answers: { 200: { description: "The report is stored.", example: { successful: true } } },
  problems: [
    "webhook_unreadable",
    "webhook_rejected",
    "body_too_large",
    "rate_limited",
    "internal",
    "not_ready",
    "store_unavailable",
  ],
});

interface Call {
  Params: { gateway: string; secret: string };
  Body: string;
}

const isGateway = (name: string): name is SmsGatewayName => smsGatewayNames.some((one) => one === name);

export function reportRoute(app: FastifyInstance, options: ReportRouteOptions): void {
  const { secrets, admit, isBlocked } = options;
  const state = { waiting: 0 };
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "string", bodyLimit }, (_request, text, done) =>
      done(null, String(text)),
    );
    scope.addHook("onRequest", async (request) => {
      const { gateway, secret } = request.params as Call["Params"];
      if (isGateway(gateway) && secrets.open(purposeOf(gateway), secret) === anyText) return;
      await admit(request);
      throw isBlocked() ? notReady() : new HubError("webhook_rejected");
    });
    const handler = async ({ params, headers, body }: FastifyRequest<Call>, reply: FastifyReply): Promise<object> => {
      const { gateway } = params;
      if (!isGateway(gateway)) throw new HubError("webhook_rejected");
      const text = typeof body === "string" ? body : "";
      await store(options, state, {
        gateway,
        report: readers[gateway]({ contentType: headers["content-type"] ?? "", body: text }),
      });
      // Beem's sample answers so; the others read the status only.
      return reply.send({ successful: true });
    };
    const config = { cors: false, secure: false, isLimited: false } as const;
    scope.route<Call>({ method: "POST", url: "/webhooks/sms/:gateway/:secret", config, ...receiveReport, handler });
  });
}

async function store(
  { pool, pause = () => wait(overtakenMs) }: ReportRouteOptions,
  state: { waiting: number },
  { gateway, report }: { gateway: SmsGatewayName; report: DeliveryReport },
): Promise<void> {
  const isKnown = await recordReport(pool, gateway, report);
  if (isKnown || report.status === undefined || state.waiting >= waitingMax) return;
  state.waiting += 1;
  try {
    await pause();
    await recordReport(pool, gateway, report);
  } finally {
    state.waiting -= 1;
  }
}
