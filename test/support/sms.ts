/** Fixtures of SMS gateways, and gateways whose answers the test chooses. */
import { readdirSync, readFileSync } from "node:fs";
import Fastify from "fastify";
import { onTestFinished } from "vitest";
import {
  createAfricasTalking,
  readAfricasTalkingReport,
} from "../../server/notification/sms/africastalking/adapter.ts";
import { africasTalkingSandbox } from "../../server/notification/sms/africastalking/sandbox.ts";
import { createBeem, readBeemReport } from "../../server/notification/sms/beem/adapter.ts";
import { beemSandbox } from "../../server/notification/sms/beem/sandbox.ts";
import type { ReadReport, SendResult, SmsGateway, SmsGatewayName } from "../../server/notification/sms/gateway.ts";
import { createHttpGateway, readHttpReport } from "../../server/notification/sms/http/adapter.ts";
import { httpGatewaySandbox } from "../../server/notification/sms/http/sandbox.ts";
import { createClient } from "../../server/provider/http-client.ts";
import { createPhone } from "../../server/sandbox/phone.ts";
import { gatewayAccount, type Sandbox } from "../../server/sandbox/server.ts";
import { testSecret } from "./node.ts";

export interface SmsFixture {
  source: string;
  certainty: "official" | "recorded" | "unverified";
  status?: number;
  body?: unknown;
  text?: string;
  contentType?: string;
  expect: { send?: string; report?: string };
}

/** The fixtures of a gateway by name. */
export function smsFixtures(gateway: "africastalking" | "beem"): [string, SmsFixture][] {
  const folder = new URL(`../fixture/${gateway}/`, import.meta.url);
  return readdirSync(folder).map((file) => [
    file.replace(/\.json$/, ""),
    JSON.parse(readFileSync(new URL(file, folder), "utf8")) as SmsFixture,
  ]);
}

export const reportReaders: Readonly<Record<SmsGatewayName, ReadReport>> = {
  africastalking: readAfricasTalkingReport,
  beem: readBeemReport,
  http: readHttpReport,
};

/** The adapter of a gateway at this address. */
export function openGateway(name: SmsGatewayName, url: string): SmsGateway {
  const client = createClient();
  onTestFinished(() => client.close());
  const baseUrl = (): string => url;
  if (name === "africastalking")
    return createAfricasTalking({ baseUrl, username: "shop", apiKey: "key", from: "ASHA", client });
  if (name === "beem") return createBeem({ baseUrl, apiKey: "key", secretKey: "secret", from: "ASHA", client });
  return createHttpGateway({ url: baseUrl, apiKey: "key", from: "ASHA", client });
}

/** A result as fixtures state it. */
export function resultText(result: SendResult): string {
  if (result.status === "sent") {
    return `sent ${result.reference ?? "without an id"}${result.parts === undefined ? "" : `, ${result.parts} parts`}`;
  }
  if (result.status === "unknown") return `unknown: ${result.reason}`;
  return `refused${result.isPermanent ? " for good" : ""}: ${result.answer ?? result.reason}`;
}

/** A gateway's sandbox on a server of its own, with its adapter and a receiver of its delivery reports. */
export async function startGatewaySandbox(name: SmsGatewayName) {
  const app = Fastify({ forceCloseConnections: true });
  const phone = createPhone();
  const reports: ReturnType<ReadReport>[] = [];
  let url = "";
  const reportUrl = (): URL => new URL(`${url}/report`);
  const sandboxes: Readonly<Record<SmsGatewayName, Sandbox>> = {
    africastalking: africasTalkingSandbox(reportUrl) as Sandbox,
    beem: beemSandbox(reportUrl) as Sandbox,
    http: httpGatewaySandbox(reportUrl) as Sandbox,
  };
  const sandbox = sandboxes[name];
  const account = gatewayAccount(name, sandbox, [testSecret]);
  const context = { account, phone, isOwn: () => true, webhookUrl: reportUrl };
  app.register(async (scope) => void sandbox.serve(scope, context), { prefix: "/gateway" });
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "string" }, (_request, text, done) => done(null, String(text)));
    scope.post<{ Body: string }>("/report", async ({ headers, body }) => {
      reports.push(reportReaders[name]({ contentType: headers["content-type"] ?? "", body }));
      return "";
    });
  });
  url = await app.listen({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => app.close());
  const client = createClient();
  onTestFinished(() => client.close());
  const baseUrl = (): string => `${url}/gateway`;
  const open = ({ USERNAME: username = "", API_KEY: apiKey = "", SECRET_KEY: secretKey = "" }): SmsGateway => {
    if (name === "africastalking") return createAfricasTalking({ baseUrl, username, apiKey, client });
    if (name === "beem") return createBeem({ baseUrl, apiKey, secretKey, from: "ASHA", client });
    return createHttpGateway({ url: baseUrl, apiKey, client });
  };
  return { gateway: open(account), stranger: open({ ...account, API_KEY: "wrong" }), phone, reports };
}
