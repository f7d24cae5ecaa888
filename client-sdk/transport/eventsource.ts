/**
 * The transport over server-sent events. It reads a streamed `fetch` instead of using the browser's `EventSource`, which
 * cannot set headers (the token would be in the URL) and hides the HTTP status (a refused token would look like a
 * network error).
 */
import { parseJson } from "../json.ts";
import { channelUrl, fetchChannel, linkedAbort, type Transport } from "./transport.ts";

/** 40 s, because the server sends at least a comment every 15 s. A stream silent for longer is dead. */
const silenceMsMax = 40_000;

/** Receives states in one streamed answer. Needs a streaming `fetch`: browsers and Node, not React Native. */
export function eventSource(): Transport {
  return {
    name: "eventsource",

    async run(target, { onOpen, onEvent }, signal) {
      const request = linkedAbort(signal);
      let timer = setTimeout(request.abort, silenceMsMax);
      try {
        const { body } = await fetchChannel(channelUrl(target, "events"), target.token, request.signal);
        if (!body) throw new Error("fetch does not stream");
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

/** Parses a stream's text from pieces that may be cut anywhere. Calls `onEvent` with the data of each event. */
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
