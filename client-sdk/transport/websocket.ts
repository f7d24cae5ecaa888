/**
 * A plain WebSocket. The server checks the token only after the upgrade, so the link counts as open with its first
 * frame, or when a second has gone by in which it was not refused. The token is in the address, because a browser can
 * set no headers here. A link that dies in silence is noticed when the page wakes up, or by the operating system.
 */
import { closeCode } from "../close-code.ts";
import { parseJson } from "../json.ts";
import { platform } from "../platform.ts";
import { busyMs, ComeBack, channelUrl, Refusal, type Transport } from "./transport.ts";

/** A server refuses within this time after the upgrade, or not at all. */
const refusedWithinMs = 1_000;

const connectMsMax = 5_000;

/** One frame for each state. Needs a global `WebSocket`: browsers, React Native, Node 22. */
export function webSocket(): Transport {
  return {
    name: "websocket",

    async run(target, { onOpen, onEvent }, signal) {
      if (signal.aborted) return;
      const { WebSocket } = platform;
      if (!WebSocket) throw new Error("There is no WebSocket here");
      const url = `${channelUrl(target, "socket").replace(/^http/i, "ws")}&token=${encodeURIComponent(target.token)}`;
      const socket = new WebSocket(url);
      const close = (): void => socket.close();
      let timer = setTimeout(close, connectMsMax);
      let isOpen = false;
      const opened = (): void => {
        clearTimeout(timer);
        isOpen = true;
        onOpen();
      };
      signal.addEventListener("abort", close);
      try {
        await new Promise<void>((resolve, reject) => {
          socket.addEventListener("open", () => {
            clearTimeout(timer);
            timer = setTimeout(opened, refusedWithinMs);
          });
          socket.addEventListener("message", ({ data }: { data?: unknown }) => {
            if (!isOpen) opened();
            onEvent(typeof data === "string" ? parseJson(data) : undefined);
          });
          socket.addEventListener("close", ({ code }: { code?: number }) => {
            const error = errorOf(code);
            if (error) reject(error);
            else if (isOpen) resolve();
            else reject(new Error(`The WebSocket was closed: ${code}`));
          });
        });
      } finally {
        clearTimeout(timer);
        signal.removeEventListener("abort", close);
      }
    },
  };
}

/** What a close code asks of us, beyond coming back. */
function errorOf(code: number | undefined): Error | undefined {
  switch (code) {
    case closeCode.tokenRefused:
      return new Refusal("token_invalid");
    case closeCode.orderUnknown:
      return new Refusal("order_unknown");
    case closeCode.tokenExpired:
      return new Refusal("token_expired");
    case closeCode.tryAgainLater:
      return new ComeBack(busyMs);
    case closeCode.restarting:
    case closeCode.tooSlow:
      return new ComeBack();
    default:
      return undefined;
  }
}
