/** Starts the watch of the order that the attributes of `<order-status>` name. */
import type { WatchErrorCode } from "../error.ts";
import { longPoll } from "../transport/longpoll.ts";
import { socketIo } from "../transport/socketio.ts";
import type { Transport } from "../transport/transport.ts";
import { showOrder, type Watch, type WatchOptions } from "../watch.ts";

/** Loads a rarely used transport when it first runs. */
const lazy = (name: string, create: "eventSource" | "webSocket") => (): Transport => ({
  name,
  run: async (...link) => (await import("../other-transport.ts"))[create]().run(...link),
});

const transports: Record<string, () => Transport> = {
  socketio: socketIo,
  longpoll: longPoll,
  websocket: lazy("websocket", "webSocket"),
  eventsource: lazy("eventsource", "eventSource"),
};

/** The attributes that start another watch. */
export const watchAttributes = ["url", "order-id", "token", "transports"];

/** Undefined while an attribute is missing. */
export function watchOf(element: HTMLElement, refreshToken: () => WatchOptions["refreshToken"]): Watch | undefined {
  const [url, orderId, token] = ["url", "order-id", "token"].map((name) => element.getAttribute(name));
  if (token && token.split(".").length !== 3) hint(element, "api_key");
  if (url == null || !orderId || !(token || refreshToken())) return undefined;
  const chosen = (element.getAttribute("transports") ?? "")
    .split(/[\s,]+/)
    .flatMap((name) => transports[name]?.() ?? []);
  return showOrder({
    url,
    orderId,
    token: token ?? "",
    // Read at the time of use, because a page may set it after the watch has started.
    refreshToken: () => refreshToken()?.(),
    transports: chosen.length > 0 ? chosen : undefined,
  });
}

/** Explains a mistake of the page to its developer. */
export function hint(element: HTMLElement, code: WatchErrorCode | "api_key"): void {
  // A newer server may not have the file of this version: then there is no explanation.
  import("./hint.ts").then(
    ({ explain }) => explain(element, code),
    () => undefined,
  );
}
