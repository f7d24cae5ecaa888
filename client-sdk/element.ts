/**
 * `<order-status url="…" order-id="…" token="…">`: what the payer sees. Importing this file registers the element; on
 * a server, where there are no elements, importing it does nothing.
 *
 * Attributes: `url`, `order-id`, `token`; optional `lang` (en, sw, bn; default: the page's, then the browser's),
 * `time-zone`, `after`, and `transports` (names, best first, such as `websocket longpoll`). Property: `refreshToken`.
 * Events: `statuschange` with the StatusEvent as detail; `tryagain` when the payer wants to; `watcherror` with a
 * WatchError. Slots: the default one below everything, `header`, and one for each status, shown while it lasts.
 *
 * Attributes set in one go start one watch. While the element is out of the page nothing is watched.
 */
import { createCountdown } from "./element/countdown.ts";
import { chooseLanguage, type Language } from "./element/language.ts";
import { presentationOf } from "./element/presentation.ts";
import { dress } from "./element/style.ts";
import { createView, type View } from "./element/view.ts";
import type { StatusEvent } from "./protocol.ts";
import { firstSnapshot, type Snapshot } from "./snapshot.ts";
import { longPoll } from "./transport/longpoll.ts";
import { socketIo } from "./transport/socketio.ts";
import type { Transport } from "./transport/transport.ts";
import { showOrder, type Watch, type WatchOptions } from "./watch.ts";

/** What is seldom asked for is fetched when it is. */
const lazy = (name: string, create: "eventSource" | "webSocket") => (): Transport => ({
  name,
  run: async (...link) => (await import("./other-transport.ts"))[create]().run(...link),
});

const transports: Record<string, () => Transport> = {
  socketio: socketIo,
  longpoll: longPoll,
  websocket: lazy("websocket", "webSocket"),
  eventsource: lazy("eventsource", "eventSource"),
};

const watchAttributes = ["url", "order-id", "token", "transports"];

/** Where there is no DOM, the class can still be declared. */
const Base: typeof HTMLElement = globalThis.HTMLElement ?? class {};

export class OrderStatusElement extends Base {
  static readonly observedAttributes = [...watchAttributes, "lang", "time-zone"];

  /** Fetches a fresh token when this one has run out. Only declared: a page may have set it before this class was here. */
  declare refreshToken: WatchOptions["refreshToken"];

  #watch: Watch | undefined;
  #view: View | undefined;
  #countdown = createCountdown();
  #told: StatusEvent | undefined;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #isStartDue = false;
  /** Undefined until its words are here: better nothing for a moment than another language. */
  #language: Language | undefined;
  #tags = "";

  /** What is known now; undefined while nothing is watched. */
  get snapshot(): Snapshot | undefined {
    return this.#watch?.snapshot();
  }

  connectedCallback(): void {
    if (!this.#view) {
      const root = this.attachShadow({ mode: "open" });
      dress(root);
      this.#view = createView({ root, onTryAgain: () => this.#tell("tryagain", this.#told) });
    }
    this.#startSoon();
  }

  disconnectedCallback(): void {
    this.#stop();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (watchAttributes.includes(name)) this.#startSoon();
    else this.#show();
  }

  #startSoon(): void {
    if (this.#isStartDue) return;
    this.#isStartDue = true;
    queueMicrotask(() => {
      this.#isStartDue = false;
      this.#stop();
      if (this.isConnected) this.#start();
    });
  }

  #start(): void {
    const [url, orderId, token] = ["url", "order-id", "token"].map((name) => this.getAttribute(name));
    if (url == null || !orderId || !token) {
      this.#show();
      return;
    }
    const chosen = (this.getAttribute("transports") ?? "")
      .split(/[\s,]+/)
      .flatMap((name) => transports[name]?.() ?? []);
    this.#watch = showOrder({
      url,
      orderId,
      token,
      // Asked for when it is needed: a page may set it after the element is there.
      refreshToken: () => this.refreshToken?.(),
      transports: chosen.length > 0 ? chosen : undefined,
    });
    const { event } = this.#watch.snapshot();
    // An ending that is only remembered is shown, and told when the server says so too.
    if (event?.settled) this.#told = event;
    this.#watch.subscribe(() => this.#heard());
    this.#heard();
  }

  #stop(): void {
    const watch = this.#watch;
    this.#watch = undefined;
    watch?.close();
    clearInterval(this.#ticking);
    this.#ticking = undefined;
  }

  #heard(): void {
    const snapshot = this.snapshot;
    if (!snapshot) return;
    this.#show();
    const { event, error } = snapshot;
    if (event && event !== this.#told) {
      this.#told = event;
      this.#tell("statuschange", event);
    }
    if (error) this.#tell("watcherror", error);
  }

  #tell(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** Takes the page's language, and shows everything again when its words are here. */
  #speak(): void {
    const page = this.closest("[lang]")?.getAttribute("lang");
    const tags = page ? [page] : navigator.languages;
    if (this.#tags === String(tags)) return;
    this.#tags = String(tags);
    void chooseLanguage(tags).then((language) => {
      if (this.#tags !== String(tags)) return;
      this.#language = language;
      this.#show();
    });
  }

  /** Shows what is known, and ticks as long as the payer is waited for. */
  #show(): void {
    const view = this.#view;
    this.#speak();
    if (!view || !this.#language) return;
    const snapshot = this.snapshot ?? firstSnapshot;
    const { event } = snapshot;
    const { words, locale } = this.#language;
    const isWaiting = event !== undefined && !event.settled && !snapshot.error;
    const time = isWaiting ? this.#countdown(event) : undefined;
    const timeZone = this.getAttribute("time-zone") ?? undefined;
    const isOverdue = time?.totalMs !== undefined && time.elapsedMs >= time.totalMs;
    view.show(presentationOf(snapshot, { words, locale, timeZone, isOverdue }), {
      scheme: schemeOf(this),
      status: event?.status,
    });
    view.progress(time, words, locale);
    if (isWaiting) this.#ticking ??= setInterval(() => this.#show(), 1_000);
    else {
      clearInterval(this.#ticking);
      this.#ticking = undefined;
    }
  }
}

/** The page's word on light or dark; where it has none, the person's own counts. */
function schemeOf(element: Element): "light" | "dark" | "auto" {
  const { colorScheme } = getComputedStyle(element);
  const [isLight, isDark] = [/\blight\b/.test(colorScheme), /\bdark\b/.test(colorScheme)];
  if (isLight === isDark) return "auto";
  return isDark ? "dark" : "light";
}

if (globalThis.customElements && !customElements.get("order-status")) {
  customElements.define("order-status", OrderStatusElement);
}

declare global {
  interface HTMLElementTagNameMap {
    "order-status": OrderStatusElement;
  }
  interface HTMLElementEventMap {
    statuschange: CustomEvent<StatusEvent>;
    tryagain: CustomEvent<StatusEvent>;
  }
}
