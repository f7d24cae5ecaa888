/**
 * The long-poll transport works wherever HTTP does. Each request waits at the server for a state newer than `after`. The
 * transport aborts a request without an answer, which ends the link.
 */
import { nowMs, platform } from "../platform.ts";
import { positionOf, readEvent } from "../protocol.ts";
import { busyMs, ComeBack, channelUrl, fetchChannel, linkedAbort, type Target, type Transport } from "./transport.ts";

/** One second for the first request, because its answer shows that the server accepts the token. */
const firstWaitS = 1;
const waitS = 25;

/**
 * The time that the network may add to the server's wait. 4 s at first, because a connection that died while the page
 * slept must be dropped soon. It doubles after each timeout up to 16 s, because some networks are only slow.
 */
const graceMsMin = 4_000;
const graceMsMax = 16_000;

/**
 * 10 s between the requests of a hidden page, which then wait 1 s each. Over HTTP/1.1 a browser has six connections to a server
 * for all its tabs, so hidden ones must not hold them. A page that becomes visible checks at once.
 */
const hiddenMs = 10_000;

/** Half a second, because a node that does not shut down waits longer before it answers without a newer state. */
const waitedMs = 500;

/** Requests the next state again and again. Needs only `fetch`. */
export function longPoll(): Transport {
  let graceMs = graceMsMin;

  const poll = async (target: Target, seconds: number, signal: AbortSignal): Promise<unknown> => {
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
      for (let seconds = firstWaitS; ; seconds = await nextWaitS(signal)) {
        const startedAtMs = nowMs();
        const answer = await poll({ ...target, after }, seconds, signal);
        const event = readEvent(answer);
        if (!event) throw new Error("No state");
        const isKnown = after === positionOf(event);
        if (!isKnown) onEvent(answer);
        onOpen();
        if (isKnown && nowMs() - startedAtMs < waitedMs) throw new ComeBack(busyMs);
        after = positionOf(event);
      }
    },
  };
}

/** Resolves with the seconds that the next request waits; in a hidden page after a pause. */
async function nextWaitS(signal: AbortSignal): Promise<number> {
  if (platform.document?.visibilityState !== "hidden") return waitS;
  await new Promise((resolve) => {
    setTimeout(resolve, hiddenMs);
    signal.addEventListener("abort", resolve);
  });
  return firstWaitS;
}
