/** A provider's sandbox on its own server, with a receiver for its webhooks. Needs no database. */
import { readFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import Fastify from "fastify";
import { onTestFinished } from "vitest";
import { handleErrors } from "../../server/http/problem.ts";
import { type ProviderName, registry } from "../../server/provider/registry.ts";
import { createPhone, type Phone } from "../../server/sandbox/phone.ts";
import { phoneRoutes } from "../../server/sandbox/phone-routes.ts";
import type { Sandbox, SandboxContext } from "../../server/sandbox/server.ts";
import { testAccount } from "./account.ts";

export interface Received {
  method: string;
  headers: IncomingHttpHeaders;
  text: string;
}

export interface TestSandbox {
  /** The provider's base URL. */
  url: string;
  phoneUrl: string;
  hookUrl: URL;
  phone: Phone;
  /** Takes the oldest webhook that was not taken yet; waits for one if necessary. */
  nextWebhook(): Promise<Received>;
  /** Number of webhooks that arrived and were not taken. */
  readonly waiting: number;
  close(): Promise<void>;
}

export interface TestSandboxOptions {
  now?: () => Date;
  /** Returns the HTTP status that answers the webhook. Default: 200. */
  onWebhook?: (received: Received) => number | Promise<number>;
  /** Whether a URL is the node's own. By default every URL is, because the test stands in for the node. */
  isOwn?: (url: string) => boolean;
}

/** Length of a scenario's second: 5 ms, because tests should not wait. */
const secondMs = 5;

export async function startSandbox(
  name: ProviderName,
  { now, onWebhook = () => 200, isOwn = () => true }: TestSandboxOptions = {},
): Promise<TestSandbox> {
  const app = Fastify({ forceCloseConnections: true });
  const phone = createPhone({ secondMs });
  const arrived = createQueue<Received>();
  handleErrors(app);
  app.register(async (scope) => phoneRoutes(scope, { phone }), { prefix: "/phone" });
  let hubUrl = "";
  const webhookUrl = (): URL => new URL(`${hubUrl}/hook`);
  const sandbox: Sandbox = registry[name].sandbox;
  const context: SandboxContext = { account: testAccount(name), phone, isOwn, webhookUrl, ...(now && { now }) };
  app.register(async (scope) => void sandbox.serve(scope, context), { prefix: "/provider" });
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "string" }, (_request, text, done) => done(null, text));
    scope.route({
      method: ["POST", "PUT"],
      url: "/hook",
      handler: async ({ method, headers, body }, reply) => {
        const received = { method, headers, text: String(body) };
        arrived.put(received);
        return reply.code(await onWebhook(received)).send();
      },
    });
  });
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  hubUrl = url;
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    phone.close();
    closed ??= app.close();
    return closed;
  };
  onTestFinished(close);
  return {
    url: `${url}/provider`,
    phoneUrl: `${url}/phone`,
    hookUrl: webhookUrl(),
    phone,
    nextWebhook: arrived.take,
    get waiting() {
      return arrived.waiting.length;
    },
    close,
  };
}

interface Queue<T> {
  waiting: T[];
  put(value: T): void;
  take(): Promise<T>;
}

function createQueue<T>(): Queue<T> {
  const waiting: T[] = [];
  const takers: ((value: T) => void)[] = [];
  return {
    waiting,
    put(value) {
      const taker = takers.shift();
      if (taker) taker(value);
      else waiting.push(value);
    },
    take() {
      const value = waiting.shift();
      if (value !== undefined) return Promise.resolve(value);
      return new Promise((resolve) => {
        takers.push(resolve);
      });
    },
  };
}

/** One message of a provider, with its source and certainty. */
export interface Fixture {
  source: string;
  certainty: "official" | "observed" | "unverified" | "invented";
  /** The HTTP status of a reply; absent for webhooks. */
  status?: number;
  body: Record<string, unknown>;
  /** The raw text, sent instead of `body` when the message is not JSON; "" for an empty reply. */
  text?: string;
  /** The adapter's expected result for each use of the message. Amounts are numbers; `source` is omitted. */
  expect?: {
    /** `accepted <reference>`, `declined <reason>` or `unknown`. */
    initiate?: string;
    /** An outcome; `nothing`: no evidence; `unavailable`: the query failed. */
    confirm?: Record<string, unknown> | "nothing" | "unavailable";
    /** A claim. When the webhook's URL contains a secret, `paymentId` is the payment of that URL. */
    webhook?: { paymentId?: string; outcome?: Record<string, unknown>; [field: string]: unknown };
  };
}

export const fixture = (provider: string, name: string): Fixture =>
  JSON.parse(readFileSync(new URL(`../fixture/${provider}/${name}.json`, import.meta.url), "utf8"));
