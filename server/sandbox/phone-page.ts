/**
 * `/sandbox/phone`: the page with the payer's phone, and the stream of its prompts. Each message has the phone's whole
 * state, so a missed message does no harm, and a reader that reconnects gets the state at once. A reader that leaves too
 * much unread is disconnected. Each message is serialised once for all streams of a phone.
 */
import type { ServerResponse } from "node:http";
import type { FastifyInstance } from "fastify";
import { providerNames } from "../../client-sdk/provider-name.ts";
import { onGone, openStream, writeStream } from "../http/event-stream.ts";
import { assetRoute, keepAsset, keepAssets, sendPage } from "../http/static-files.ts";
import { startLoop } from "../loop.ts";
import { type ConnectionLimit, limited } from "../rate-limit.ts";
import { prompt } from "../schema/example.ts";
import { described, describedFile, openedBy } from "../schema/route.ts";
import { readMsisdn } from "../validation.ts";
import { lastDigits, type Phone, type Prompt, scenarioOf } from "./phone.ts";

export interface PhonePageOptions {
  phone: Phone;
  /** The limit of open streams from one address. */
  connectionLimit: ConnectionLimit;
}

/** The state of a phone. */
export interface PhoneView {
  /** Oldest first. `title` is the provider's display name. */
  prompts: (Prompt & { title: string })[];
  /** The number's scenario answers its prompts, so a person must be faster. */
  answersItself: boolean;
}

/** 15 s, because nginx by default closes a stream after 60 s of silence. A write also detects readers that are gone. */
const heartbeatMs = 15_000;

/** The limit of open streams of one phone (G12), because each change is written to all of them. */
export const streamsPerPhoneMax = 100;

/** Spreads the retries of refused clients. */
const fullRetryMs = 10_000;

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const page = keepAsset(own("phone.html"));
const findFile = keepAssets({ "phone.css": own("phone.css"), "phone.js": own("phone.js") });

const openPhone = describedFile("Sandbox", {
  operationId: "openPhone",
  summary: "The page with the payer's phone",
  type: "text/html",
});

const shown = { prompts: [{ ...prompt, title: "M-Pesa" }], answersItself: false };

const subscribeToPrompts = described({
  operationId: "followPrompts",
  tag: "Sandbox",
  summary: "Subscribe to the prompts of a phone",
  description: `Sends the phone's state at once and after each change, and a comment every 15 s. One phone may have ${streamsPerPhoneMax} open streams.`,
  security: openedBy.everyone,
  answers: {
    200: {
      description: "`data` has the open `prompts`. `answersItself` is true if the number's scenario answers them.",
      type: "text/event-stream",
      example: `event: prompts\ndata: ${JSON.stringify(shown)}\n\n`,
    },
  },
  problems: ["body_invalid", "rate_limited"],
});

/** The open streams of each phone, by the last nine digits of its number. */
interface PhoneStreams {
  /** Throws `rate_limited` if the phone has the maximum. */
  check(digits: string): void;
  /** Writes the phone's state now and after each change. Returns a function that ends this. */
  add(digits: string, stream: ServerResponse): () => void;
  all(): ServerResponse[];
}

function createPhoneStreams(phone: Phone): PhoneStreams {
  const subscriptions = new Map<string, { streams: Set<ServerResponse>; end: () => void }>();

  const subscribe = (digits: string) => {
    const streams = new Set<ServerResponse>();
    const end = phone.watch(digits, () => {
      const message = messageOf(phone, digits);
      for (const stream of streams) writeStream(stream, message);
    });
    return { streams, end };
  };

  return {
    check(digits) {
      const open = subscriptions.get(digits)?.streams.size ?? 0;
      if (open >= streamsPerPhoneMax) throw limited("Too many open streams of this phone", fullRetryMs);
    },
    add(digits, stream) {
      const { streams, end } = subscriptions.get(digits) ?? subscribe(digits);
      subscriptions.set(digits, { streams, end });
      streams.add(stream);
      writeStream(stream, messageOf(phone, digits));
      return () => {
        streams.delete(stream);
        if (streams.size > 0) return;
        end();
        subscriptions.delete(digits);
      };
    },
    all: () => [...subscriptions.values()].flatMap(({ streams }) => [...streams]),
  };
}

function messageOf(phone: Phone, digits: string): string {
  const view: PhoneView = {
    prompts: phone
      .prompts(digits)
      .map((prompt) => ({ ...prompt, title: providerNames[prompt.provider] ?? "Mobile money" })),
    answersItself: scenarioOf(digits).answer !== undefined,
  };
  return `event: prompts\ndata: ${JSON.stringify(view)}\n\n`;
}

/** Mount at `/sandbox/phone`. */
export function phonePageRoutes(app: FastifyInstance, { phone, connectionLimit }: PhonePageOptions): void {
  const streams = createPhoneStreams(phone);

  app.get("", openPhone, async (request, reply) => sendPage(request, reply, { page: await page(), framedBy: "self" }));

  assetRoute(app, "/page", findFile);

  app.get("/:msisdn/events", { exposeHeadRoute: false, ...subscribeToPrompts }, async ({ params, ip }, reply) => {
    const digits = lastDigits(readMsisdn(params));
    streams.check(digits);
    connectionLimit.acquire(ip);
    openStream(reply);
    const remove = streams.add(digits, reply.raw);
    onGone(reply, () => {
      remove();
      connectionLimit.release(ip);
    });
    return reply;
  });

  const heartbeat = startLoop({
    task: async () => {
      for (const stream of streams.all()) writeStream(stream, ": still here\n\n");
    },
    delayMs: () => heartbeatMs,
    onError: (error) =>
      app.log.error({ event: "sandbox.heartbeat.failed", err: error }, "phone page: heartbeat failed"),
  });

  app.addHook("preClose", async () => {
    await heartbeat.close();
    for (const stream of streams.all()) stream.end();
  });
}
