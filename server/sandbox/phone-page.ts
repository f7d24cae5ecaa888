/**
 * `/sandbox/phone`: the payer's phone as a page, and the stream that tells it of prompts. Each message is everything
 * that the phone shows, so one that is missed is made good by the next; a reader that comes back gets it at once, and
 * one that leaves too much unread is cut off. However many streams a phone has, each message is made once.
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
  /** Streams open at once from one address. */
  connectionLimit: ConnectionLimit;
}

/** What a phone shows. */
export interface PhoneView {
  /** Oldest first, each with what the payer knows the provider by. */
  prompts: (Prompt & { title: string })[];
  /** The number answers by itself, and a person had better be quick. */
  answersItself: boolean;
}

/** Finds readers that are gone, and keeps proxies from closing a quiet stream. */
const heartbeatMs = 15_000;

/** Streams open at once of one phone, because each change is written to all of them: a phone has one page or a few. */
export const streamsPerPhoneMax = 100;

/** A stream may close at any time; this spreads those who ask again. */
const fullRetryMs = 10_000;

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const page = keepAsset(own("phone.html"));
const findFile = keepAssets({ "phone.css": own("phone.css"), "phone.js": own("phone.js") });

const openPhone = describedFile("Sandbox", {
  operationId: "openPhone",
  summary: "The payer's phone, to answer by hand",
  type: "text/html",
});

const shown = { prompts: [{ ...prompt, title: "M-Pesa" }], answersItself: false };

const followPrompts = described({
  operationId: "followPrompts",
  tag: "Sandbox",
  summary: "Follow what a phone shows",
  description: `Everything it shows now, and again whenever that changes. A comment every 15 s. At most ${streamsPerPhoneMax} streams of one phone at once.`,
  security: openedBy.anybody,
  answers: {
    200: {
      description: "`data` has the open `prompts`, and whether the number answers them by itself.",
      type: "text/event-stream",
      example: `event: prompts\ndata: ${JSON.stringify(shown)}\n\n`,
    },
  },
  problems: ["body_invalid", "rate_limited"],
});

/** The open streams of each phone, by the digits of it that are compared. */
interface PhoneStreams {
  /** Throws `rate_limited` when the phone has as many as it may. */
  check(digits: string): void;
  /** Writes what the phone shows, now and whenever that changes, until what it returns is called. */
  add(digits: string, stream: ServerResponse): () => void;
  all(): ServerResponse[];
}

function createPhoneStreams(phone: Phone): PhoneStreams {
  const followed = new Map<string, { streams: Set<ServerResponse>; stop: () => void }>();

  const messageOf = (digits: string): string => {
    const view: PhoneView = {
      prompts: phone
        .prompts(digits)
        .map((prompt) => ({ ...prompt, title: providerNames[prompt.provider] ?? "Mobile money" })),
      answersItself: scenarioOf(digits).answer !== undefined,
    };
    return `event: prompts\ndata: ${JSON.stringify(view)}\n\n`;
  };

  const follow = (digits: string) => {
    const streams = new Set<ServerResponse>();
    const stop = phone.watch(digits, () => {
      const message = messageOf(digits);
      for (const stream of streams) writeStream(stream, message);
    });
    return { streams, stop };
  };

  return {
    check(digits) {
      const open = followed.get(digits)?.streams.size ?? 0;
      if (open >= streamsPerPhoneMax) throw limited("Too many open streams of this phone", fullRetryMs);
    },
    add(digits, stream) {
      const { streams, stop } = followed.get(digits) ?? follow(digits);
      followed.set(digits, { streams, stop });
      streams.add(stream);
      writeStream(stream, messageOf(digits));
      return () => {
        streams.delete(stream);
        if (streams.size > 0) return;
        stop();
        followed.delete(digits);
      };
    },
    all: () => [...followed.values()].flatMap(({ streams }) => [...streams]),
  };
}

/** To be mounted at `/sandbox/phone`. */
export function phonePageRoutes(app: FastifyInstance, { phone, connectionLimit }: PhonePageOptions): void {
  const streams = createPhoneStreams(phone);

  app.get("", openPhone, async (request, reply) => sendPage(request, reply, { page: await page(), framedBy: "self" }));

  assetRoute(app, "/page", findFile);

  app.get("/:msisdn/events", { exposeHeadRoute: false, ...followPrompts }, async ({ params, ip }, reply) => {
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
