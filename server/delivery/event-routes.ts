/** The history of events: a list for a backend that reads, and a live stream of all orders. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { merchantOnly } from "../auth/access.ts";
import { holdWith, release } from "../auth/api-key.ts";
import { HubError } from "../errors.ts";
import { onGone, openStream, writeStream } from "../http/event-stream.ts";
import { parseInput, text, timeText, wholeText } from "../validation.ts";
import type { Delivery } from "./delivery.ts";
import { type FeedPage, placeSince, readFeed } from "./feed.ts";
import type { FeedTail, Following } from "./feed-tail.ts";
import type { Message } from "./message.ts";
import * as route from "./route-schema.ts";
import { eventTypes } from "./subject.ts";

/** Streams of one node. 32, because each reads the feed by itself. */
const streamsMax = 32;

/** 15 s because proxies close idle streams. */
const heartbeatMs = 15_000;

/** Bytes that may wait for a reader before the stream waits too. Half of what closes the connection. */
const waitingBytesMax = 32_768;

const eventFilter = z.strictObject({
  since: timeText.optional().describe("Only events from this time on."),
  // The history has orders only.
  type: z.enum(eventTypes.filter((type) => type.startsWith("order."))).optional(),
  cursor: text(30_000).describe("The `nextCursor` or `endCursor` of a page.").optional(),
  limit: wholeText(1, 200, { description: "Events in a page.", examples: [20] }).default(50),
});

export interface EventRoutesOptions {
  delivery: Pick<Delivery, "pool" | "tail">;
  onRequest: ReturnType<typeof merchantOnly>;
}

export function eventRoutes(app: FastifyInstance, { delivery, onRequest }: EventRoutesOptions): void {
  const { pool, tail } = delivery;
  /** The streams, and those that are about to begin. */
  const streams = new Map<FastifyReply, Following | undefined>();
  const heartbeat = setInterval(() => {
    for (const [{ raw }, following] of streams) if (following) writeStream(raw, idOnly(following.cursor));
  }, heartbeatMs).unref();
  app.addHook("preClose", async () => {
    clearInterval(heartbeat);
    for (const [{ raw }, following] of streams) if (following) raw.end();
  });

  const begin = async (
    request: FastifyRequest,
    reply: FastifyReply,
    { since, type, cursor: asked }: z.infer<typeof eventFilter>,
  ): Promise<Following> => {
    const cursor = lastEventId(request) ?? asked ?? (since && (await placeSince(pool, since)));
    // Refuses a wrong cursor before the stream begins.
    if (cursor !== undefined) await readFeed(pool, { cursor, limit: 1 });
    return startStream(reply, tail, { cursor, type, since });
  };

  app.get(
    "/v1/events",
    { exposeHeadRoute: false, ...route.readEvents(eventFilter), onRequest },
    async (request, reply) => {
      const filter = parseInput(eventFilter, request.query);
      if (!request.headers.accept?.includes("text/event-stream")) return toPage(await readFeed(pool, filter));
      if (streams.size >= streamsMax)
        throw new HubError("rate_limited", "Too many streams on this node", { retryAfterS: 5 });
      // Before the first wait, so that concurrent requests do not exceed the limit.
      streams.set(reply, undefined);
      const following = await begin(request, reply, filter).catch((error: unknown) => {
        streams.delete(reply);
        throw error;
      });
      streams.set(reply, following);
      const { apiKey } = request;
      const held = { expire: () => void reply.raw.end() };
      holdWith(apiKey, held);
      onGone(reply, () => {
        release(apiKey, held);
        streams.delete(reply);
        following.stop();
      });
      return reply;
    },
  );
}

async function startStream(
  reply: FastifyReply,
  tail: FeedTail,
  place: { cursor: string | undefined; type: string | undefined; since: Date | undefined },
): Promise<Following> {
  const { raw } = reply;
  let isOpen = false;
  const following = await tail.follow({
    ...place,
    isReady: () => isOpen && !raw.destroyed && raw.writableLength < waitingBytesMax,
    receive: (message, cursor) => writeStream(raw, `id: ${cursor}\ndata: ${JSON.stringify(toView(message))}\n\n`),
  });
  openStream(reply);
  writeStream(raw, idOnly(following.cursor));
  isOpen = true;
  raw.on("drain", tail.wake);
  tail.wake();
  return following;
}

/** An id without data: the client continues from there although it has received no message since. */
const idOnly = (cursor: string): string => `id: ${cursor}\n\n`;

function lastEventId({ headers }: FastifyRequest): string | undefined {
  const id = headers["last-event-id"];
  return typeof id === "string" && id !== "" ? id : undefined;
}

const toPage = ({ data, nextCursor, hasMore }: FeedPage): object => ({
  data: data.map(toView),
  nextCursor: hasMore ? nextCursor : null,
  endCursor: nextCursor,
});

/** An entry of a page, and the data of a message of the stream. */
const toView = ({ id, body }: Message): object => ({ id, ...(JSON.parse(body) as object) });
