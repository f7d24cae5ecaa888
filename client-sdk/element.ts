/**
 * The element `<order-status url="…" order-id="…" token="…">` shows a payment to its payer. Importing this file registers
 * the element. On a server without custom elements the import does nothing.
 *
 * Attributes: `url`, `order-id`, `token`; optional `lang` (en, sw, bn; default: the page's, then the browser's),
 * `time-zone` and `transports` (names, best first, such as `websocket longpoll`). Property: `refreshToken`.
 * Events: `statuschange` with the StatusEvent as detail; `tryagain` when the payer presses the button; `watcherror` with
 * a WatchError. Slots: the default slot at the end, `header`, and one per status, shown while the order has that status.
 *
 * Attributes set in the same task start one watch. The element watches only while it is in the document.
 */
import { createCountdown } from "./element/countdown.ts";
import { chooseLanguage, type Language } from "./element/language.ts";
import { presentationOf } from "./element/presentation.ts";
import { applyStyle } from "./element/style.ts";
import { createView, type View } from "./element/view.ts";
import type { WatchError } from "./error.ts";
import type { StatusEvent } from "./protocol.ts";
import { firstSnapshot, type Snapshot } from "./snapshot.ts";
import { longPoll } from "./transport/longpoll.ts";
import { socketIo } from "./transport/socketio.ts";
import type { Transport } from "./transport/transport.ts";
import { showOrder, type Watch, type WatchOptions } from "./watch.ts";

export type { OrderStatusAttributes, OrderStatusProperties } from "./jsx.ts";

/** Loads a rarely used transport when it first runs. */
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

/** A stand-in where there is no DOM, so that the class can still be declared. */
const Base: typeof HTMLElement = globalThis.HTMLElement ?? class {};

export class OrderStatusElement extends Base {
  static readonly observedAttributes = [...watchAttributes, "lang", "time-zone"];

  /** Fetches a fresh token when the current one expires. Only declared, so that a value set before registration stays. */
  declare refreshToken: WatchOptions["refreshToken"];

  #watch: Watch | undefined;
  #view: View | undefined;
  #countdown = createCountdown();
  /** The last state that the page was notified of. */
  #notified: StatusEvent | undefined;
  #ticker: ReturnType<typeof setInterval> | undefined;
  #isStartDue = false;
  /** Undefined until its words are loaded. The element shows nothing until then, rather than another language. */
  #language: Language | undefined;
  /** The language tags that `#language` was chosen by. */
  #tags = "";

  /** The current snapshot. Undefined while the element watches nothing. */
  get snapshot(): Snapshot | undefined {
    return this.#watch?.snapshot();
  }

  connectedCallback(): void {
    if (!this.#view) {
      const root = this.attachShadow({ mode: "open" });
      applyStyle(root);
      this.#view = createView({ root, onTryAgain: () => this.#dispatch("tryagain", this.#notified) });
    }
    this.#scheduleStart();
  }

  disconnectedCallback(): void {
    this.#stop();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (watchAttributes.includes(name)) this.#scheduleStart();
    else this.#render();
  }

  #scheduleStart(): void {
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
      this.#render();
      return;
    }
    const chosen = (this.getAttribute("transports") ?? "")
      .split(/[\s,]+/)
      .flatMap((name) => transports[name]?.() ?? []);
    this.#watch = showOrder({
      url,
      orderId,
      token,
      // Read at the time of use, because a page may set it after the watch has started.
      refreshToken: () => this.refreshToken?.(),
      transports: chosen.length > 0 ? chosen : undefined,
    });
    const { event } = this.#watch.snapshot();
    // The element shows a stored settled state, but notifies the page only when the server confirms it.
    if (event?.settled) this.#notified = event;
    this.#watch.subscribe(() => this.#update());
    this.#update();
  }

  #stop(): void {
    const watch = this.#watch;
    this.#watch = undefined;
    watch?.close();
    clearInterval(this.#ticker);
    this.#ticker = undefined;
  }

  #update(): void {
    const snapshot = this.snapshot;
    if (!snapshot) return;
    this.#render();
    const { event, error } = snapshot;
    if (event && event !== this.#notified) {
      this.#notified = event;
      this.#dispatch("statuschange", event);
    }
    if (error) this.#dispatch("watcherror", error);
  }

  #dispatch(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** Chooses the page's language, loads its words and renders again. */
  #chooseLanguage(): void {
    const page = this.closest("[lang]")?.getAttribute("lang");
    const tags = page ? [page] : navigator.languages;
    if (this.#tags === String(tags)) return;
    this.#tags = String(tags);
    void chooseLanguage(tags).then((language) => {
      if (this.#tags !== String(tags)) return;
      this.#language = language;
      this.#render();
    });
  }

  /** Renders the snapshot, and again every second while the payer has to act. */
  #render(): void {
    const view = this.#view;
    this.#chooseLanguage();
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
    if (isWaiting) this.#ticker ??= setInterval(() => this.#render(), 1_000);
    else {
      clearInterval(this.#ticker);
      this.#ticker = undefined;
    }
  }
}

// React 19 sets a property only if the element has it, and an attribute otherwise.
OrderStatusElement.prototype.refreshToken = undefined;

/** The page's `color-scheme`. `auto` follows the visitor's preference. */
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
    watcherror: CustomEvent<WatchError>;
  }
}
