/** Fixtures of SMS gateways, and gateways whose answers the test chooses. */
import { readdirSync, readFileSync } from "node:fs";
import { onTestFinished } from "vitest";
import {
  createAfricasTalking,
  readAfricasTalkingReport,
} from "../../server/notification/sms/africastalking/adapter.ts";
import { createBeem, readBeemReport } from "../../server/notification/sms/beem/adapter.ts";
import type { ReadReport, SendResult, SmsGateway, SmsGatewayName } from "../../server/notification/sms/gateway.ts";
import { createHttpGateway, readHttpReport } from "../../server/notification/sms/http/adapter.ts";
import { createClient } from "../../server/provider/http-client.ts";

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
  return `refused${result.isPermanent ? " for good" : ""}: ${result.reason}`;
}
