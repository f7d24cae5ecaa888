/**
 * The live stream of all orders, while the page is visible: browsers allow six connections to a host over HTTP/1.1, and a node
 * serves 32 streams. A gap is harmless: when a stream opens, everything on the screen is read again.
 */
import { useSyncExternalStore } from "react";
import type { MerchantOrder } from "../../merchant-sdk/model.ts";
import { linkTo } from "./address.ts";
import { cache, keepNewer, key, readAgain } from "./cache.ts";

/** `off`: no stream now; the screens are read every 15 s. */
export type Link = "live" | "off";

/** Reads at most once in this time, however many orders change. */
const readAgainMs = 2_000;
const pollMs = 15_000;
const reopenMs = 5_000;

let link: Link = "off";
const listeners = new Set<() => void>();

function setLink(next: Link): void {
  link = next;
  for (const listener of listeners) listener();
}

/** Follows the stream until the returned function is called. */
export function followOrders(): () => void {
  let stream: EventSource | undefined;
  let reopening: ReturnType<typeof setTimeout> | undefined;
  let reading: ReturnType<typeof setTimeout> | undefined;
  const readSoon = (): void => {
    reading ??= setTimeout(() => {
      reading = undefined;
      void readAgain();
    }, readAgainMs);
  };
  const close = (): void => {
    clearTimeout(reopening);
    stream?.close();
    stream = undefined;
    setLink("off");
  };
  const open = (): void => {
    close();
    if (document.visibilityState === "hidden") return;
    stream = new EventSource(linkTo("/v1/events"));
    stream.onopen = () => {
      setLink("live");
      void cache.invalidateQueries();
    };
    stream.onmessage = ({ data }: MessageEvent<string>) => {
      const order = orderOf(data);
      if (order) keepNewer(order);
      readSoon();
    };
    stream.onerror = () => {
      setLink("off");
      // The browser reconnects by itself after a lost connection, but never after a refusal.
      if (stream?.readyState !== EventSource.CLOSED) return;
      void cache.invalidateQueries({ queryKey: [key.session] });
      reopening = setTimeout(open, reopenMs);
    };
  };
  const poll = setInterval(() => {
    if (link === "off" && document.visibilityState === "visible") void cache.invalidateQueries();
  }, pollMs);
  open();
  document.addEventListener("visibilitychange", open);
  return () => {
    document.removeEventListener("visibilitychange", open);
    clearInterval(poll);
    clearTimeout(reading);
    close();
  };
}

function orderOf(text: string): MerchantOrder | undefined {
  const message: { data?: { order?: MerchantOrder } } = JSON.parse(text);
  return message.data?.order;
}

/** Whether the screen is live. */
export const useLink = (): Link =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => link,
  );
