/**
 * The WebSocket transport. The server checks the token only after the upgrade, so the link counts as open with its first
 * frame, or after one second without a refusal. The token is in the URL, because a browser cannot set headers here. A
 * dead link is detected when the page wakes up, or by the operating system.
 */
import { closeCode } from "../close-code.ts";
import { parseJson } from "../json.ts";
import { platform } from "../platform.ts";
import { busyMs, ComeBack, channelUrl, Refusal, type Transport } from "./transport.ts";

/** One second, because a server refuses a token within that time after the upgrade. */
const refusedWithinMs = 1_000;

const connectMsMax = 5_000;

/** Receives each state as one frame. Needs a global `WebSocket`: browsers, React Native, Node 22 or newer. */
export function webSocket(): Transport {
  return {
    name: "websocket",

    async run(target, { onReached, onOpen, onEvent }, signal) {
      if (signal.aborted) return;
      const { WebSocket } = platform;
      if (!WebSocket) throw new Error("WebSocket is not available");
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
            onReached?.();
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

/** The error for a close code. Undefined if the code only means that the link ended. */
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
