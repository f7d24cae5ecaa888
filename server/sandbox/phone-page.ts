/**
 * `/sandbox/phone`: the payer's phone as a page, and the stream that tells it of prompts. Each message is everything
 * that the phone shows, so one that is missed is made good by the next; a reader that comes back gets it at once, and
 * one that leaves too much unread is cut off.
 */
import type { ServerResponse } from "node:http";
import type { FastifyInstance } from "fastify";
import { providerNames } from "../../client-sdk/provider-name.ts";
import { onGone, openStream, writeStream } from "../http/event-stream.ts";
import { assetRoute, keepAsset, keepAssets, sendPage } from "../http/static-files.ts";
import { startLoop } from "../loop.ts";
import type { ConnectionLimit } from "../rate-limit.ts";
import { prompt } from "../schema/example.ts";
import { described, describedFile, openedBy } from "../schema/route.ts";
import { type Phone, type Prompt, scenarioOf } from "./phone.ts";

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
  description: "Everything it shows now, and again whenever that changes. A comment every 15 s.",
  security: openedBy.anybody,
  answers: {
    200: {
      description: "`data` has the open `prompts`, and whether the number answers them by itself.",
      type: "text/event-stream",
      example: `event: prompts\ndata: ${JSON.stringify(shown)}\n\n`,
    },
  },
  problems: ["rate_limited"],
});

/** To be mounted at `/sandbox/phone`. */
export function phonePageRoutes(app: FastifyInstance, { phone, connectionLimit }: PhonePageOptions): void {
  const streams = new Set<ServerResponse>();

  app.get("", openPhone, async (request, reply) => sendPage(request, reply, { page: await page(), framedBy: "self" }));

  assetRoute(app, "/page", findFile);

  app.get<{ Params: { msisdn: string } }>(
    "/:msisdn/events",
    { exposeHeadRoute: false, ...followPrompts },
    async (request, reply) => {
      const {
        params: { msisdn },
        ip,
      } = request;
      const { raw } = reply;
      connectionLimit.enter(ip);
      openStream(reply);
      const tell = (): void => {
        const view: PhoneView = {
          prompts: phone
            .prompts(msisdn)
            .map((prompt) => ({ ...prompt, title: providerNames[prompt.provider] ?? "Mobile money" })),
          answersItself: scenarioOf(msisdn).answer !== undefined,
        };
        writeStream(raw, `event: prompts\ndata: ${JSON.stringify(view)}\n\n`);
      };
      const stop = phone.watch(msisdn, tell);
      streams.add(raw);
      onGone(reply, () => {
        stop();
        connectionLimit.leave(ip);
        streams.delete(raw);
      });
      tell();
      return reply;
    },
  );

  const heartbeat = startLoop({
    task: async () => {
      for (const stream of streams) writeStream(stream, ": still here\n\n");
    },
    delayMs: () => heartbeatMs,
    onError: (error) => app.log.error({ err: error }, "heartbeat failed"),
  });

  app.addHook("preClose", async () => {
    await heartbeat.close();
    for (const stream of streams) stream.end();
  });
}
