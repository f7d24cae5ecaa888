/**
 * Server-sent events, read from a streamed `fetch` and not by the browser's `EventSource`: that one can set no headers,
 * so the token would be in the address, and it tells no status, so a refused token would look like a bad network.
 */
import { parseJson } from "../json.ts";
import { channelUrl, fetchChannel, linkedAbort, type Transport } from "./transport.ts";

/** The server says something every 15 s; a stream as silent as this is dead. */
const silenceMsMax = 40_000;

/** One long answer. Needs a `fetch` that streams: browsers and Node; not React Native. */
export function eventSource(): Transport {
  return {
    name: "eventsource",

    async run(target, { onOpen, onEvent }, signal) {
      const request = linkedAbort(signal);
      let timer = setTimeout(request.abort, silenceMsMax);
      try {
        const { body } = await fetchChannel(channelUrl(target, "events"), target.token, request.signal);
        if (!body) throw new Error("fetch does not stream here");
        onOpen();
        const reader = body.getReader();
        const read = createEventReader(onEvent);
        const decoder = new TextDecoder();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          clearTimeout(timer);
          timer = setTimeout(request.abort, silenceMsMax);
          read(decoder.decode(value, { stream: true }));
          onOpen();
        }
      } finally {
        clearTimeout(timer);
        request.release();
        request.abort();
      }
    },
  };
}

/** Takes a stream's text in pieces, cut anywhere, and hands over the data of each event that has any. */
export function createEventReader(onEvent: (event: unknown) => void): (piece: string) => void {
  let rest = "";
  let data = "";
  return (piece) => {
    const lines = (rest + piece).split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("data:")) data += line.slice("data:".length);
      if (line !== "" || data === "") continue;
      onEvent(parseJson(data));
      data = "";
    }
  };
}
