/**
 * Long poll: the transport that works wherever HTTP does. Each request waits at the server until there is something
 * newer than what we have. A request whose answer does not come at all is given up, and the link with it.
 */
import { nowMs } from "../platform.ts";
import { readEvent } from "../protocol.ts";
import { busyMs, ComeBack, channelUrl, fetchChannel, linkedAbort, type Target, type Transport } from "./transport.ts";

/** The first answer comes soon, also without news: it shows that we are let in. */
const firstWaitS = 1;
const waitS = 25;

/**
 * What the network may add to the server's own time: little at first, so that a connection that died while the page
 * slept is soon given up, then more each time that was too little, for networks that are only slow.
 */
const graceMsMin = 4_000;
const graceMsMax = 16_000;

/** An answer without news that comes sooner than this was not waited for: the node is closing. */
const waitedMs = 500;

/** Asks again and again; needs nothing but `fetch`. */
export function longPoll(): Transport {
  let graceMs = graceMsMin;

  const ask = async (target: Target, seconds: number, signal: AbortSignal): Promise<unknown> => {
    const request = linkedAbort(signal);
    const timer = setTimeout(
      () => {
        graceMs = Math.min(2 * graceMs, graceMsMax);
        request.abort();
      },
      seconds * 1_000 + graceMs,
    );
    try {
      const url = channelUrl(target, "wait", `&timeout=${seconds}`);
      return await (await fetchChannel(url, target.token, request.signal)).json();
    } finally {
      clearTimeout(timer);
      request.release();
    }
  };

  return {
    name: "longpoll",

    async run(target, { onOpen, onEvent }, signal) {
      let { after } = target;
      for (let seconds = firstWaitS; ; seconds = waitS) {
        const startedAtMs = nowMs();
        const answer = await ask({ ...target, after }, seconds, signal);
        const version = readEvent(answer)?.version;
        if (version === undefined) throw new Error("The answer is not an order's state");
        if (version !== after) onEvent(answer);
        onOpen();
        if (version === after && nowMs() - startedAtMs < waitedMs) throw new ComeBack(busyMs);
        after = version;
      }
    },
  };
}
