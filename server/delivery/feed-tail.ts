/**
 * Follows the feed for streams of this node: reads what is new when an event was committed here, and twice a second for the events
 * of other nodes. It reads nothing while nobody listens.
 */
import type pg from "pg";
import { type Loop, startLoop } from "../loop.ts";
import { currentPlace, readFeed } from "./feed.ts";
import type { Message } from "./message.ts";

export interface Follower {
  /** The place up to which it has the feed. */
  cursor: string;
  type?: string | undefined;
  since?: Date | undefined;
  /** Whether it takes a message now. It calls `wake` when it is ready again. */
  isReady(): boolean;
  /** Takes one message and the place after it. */
  receive(message: Message, cursor: string): void;
}

export interface Following {
  /** The place up to which the follower has the feed. */
  readonly cursor: string;
  stop(): void;
}

export interface FeedTail {
  wake(): void;
  /** Without a cursor it follows from now on. */
  follow(follower: Omit<Follower, "cursor"> & { cursor: string | undefined }): Promise<Following>;
  readonly followers: number;
  close(): Promise<void>;
}

/** 0.5 s, because the events of other nodes wait for it. */
const pollMs = 500;

/** Messages that one pass reads for each follower. */
const pageMax = 200;

export interface FeedTailOptions {
  pool: pg.Pool;
  onError: (error: unknown) => void;
  onRecovered: () => void;
}

export function createFeedTail({ pool, onError, onRecovered }: FeedTailOptions): FeedTail {
  const followers = new Set<Follower>();

  /** Reads one page; the rest follows in the next pass. */
  const advance = async (follower: Follower): Promise<boolean> => {
    const { cursor, type, since } = follower;
    if (!follower.isReady()) return false;
    const { data, cursors, nextCursor, hasMore } = await readFeed(pool, { cursor, type, since, limit: pageMax });
    for (const [nth, message] of data.entries()) {
      const place = cursors[nth] ?? nextCursor;
      if (!followers.has(follower) || !follower.isReady()) return false;
      follower.receive(message, place);
      follower.cursor = place;
    }
    follower.cursor = nextCursor;
    return hasMore;
  };

  const loop: Loop = startLoop({
    task: async () => {
      let hasMore = false;
      for (const follower of followers) hasMore = (await advance(follower)) || hasMore;
      if (hasMore) loop.runNow();
    },
    delayMs: () => pollMs,
    onError,
    onRecovered,
  });

  return {
    wake() {
      if (followers.size > 0) loop.runNow();
    },
    async follow({ cursor, ...rest }) {
      const follower: Follower = { ...rest, cursor: cursor ?? (await currentPlace(pool)) };
      followers.add(follower);
      loop.runNow();
      return {
        get cursor() {
          return follower.cursor;
        },
        stop: () => void followers.delete(follower),
      };
    },
    get followers() {
      return followers.size;
    },
    close: loop.close,
  };
}
