/**
 * The element `<order-status url="…" order-id="…" token="…">` shows a payment to its payer. Importing this file registers
 * the element. On a server without custom elements the import does nothing.
 *
 * Attributes: `url`, `order-id`, `token`; optional `lang` (en, sw, bn; default: the page's, then the browser's),
 * `time-zone`, `transports` (names, best first, such as `websocket longpoll`), `merchant`, `item`, `phone`, `contact`,
 * `retry-url` and `nonce`. Properties: `refreshToken`, `ontryagain`. Events: `statuschange` with the StatusEvent as detail;
 * `tryagain` when the payer presses the button; `watcherror` with a WatchError. Slots: the default slot at the end,
 * `header`, and one per status, shown while the order has that status.
 *
 * `element/panel.ts` has the behaviour. No fields and no private names here, because the oldest browsers cannot parse them.
 */
import { createPanel, type Panel } from "./element/panel.ts";
import { watchAttributes } from "./element/watch.ts";
import type { WatchError } from "./error.ts";
import type { StatusEvent } from "./protocol.ts";
import type { Snapshot } from "./snapshot.ts";
import type { WatchOptions } from "./watch.ts";

export type { OrderStatusAttributes, OrderStatusProperties } from "./jsx.ts";

type Listener = EventListenerOrEventListenerObject;
type OnTryAgain = ((event: CustomEvent<StatusEvent>) => unknown) | null | undefined;

/** The private state of an element. */
interface Inner {
  panel: Panel;
  refreshToken?: WatchOptions["refreshToken"];
  ontryagain: OnTryAgain;
  /** The listeners of `tryagain` that the browser would call, the capturing ones second. The value drops the listener. */
  listeners: readonly [Map<Listener, () => void>, Map<Listener, () => void>];
}

const inners = new WeakMap<object, Inner>();

/** Undefined only for an object that is no element, of which each use then throws a `TypeError`. */
const innerOf = (element: object): Inner => inners.get(element) as Inner;

/** The listeners for the phase that the options name. The button to try again needs one. */
const listenersOf = (
  { listeners }: Inner,
  options: boolean | EventListenerOptions | undefined,
): Inner["listeners"][0] => listeners[(typeof options === "object" ? options.capture : options) ? 1 : 0];

/** A stand-in where there is no DOM, so that the class can still be declared. */
const Base: typeof HTMLElement = globalThis.HTMLElement ?? class {};

export class OrderStatusElement extends Base {
  static get observedAttributes(): string[] {
    return [...watchAttributes, "lang", "time-zone", "merchant", "item", "phone", "contact", "retry-url"];
  }

  constructor() {
    super();
    const panel = createPanel({
      element: this,
      refreshToken: () => this.refreshToken,
      canTryAgain: () => Boolean(inner.ontryagain) || inner.listeners.some(({ size }) => size > 0),
    });
    const inner: Inner = { panel, ontryagain: null, listeners: [new Map(), new Map()] };
    inners.set(this, inner);
    super.addEventListener("tryagain", (event) => panel.await(async () => inner.ontryagain?.call(this, event)));
    // A value that the page set before the element was registered hides the accessor.
    for (const name of ["refreshToken", "ontryagain"] as const) {
      if (!Object.keys(this).includes(name)) continue;
      const value = this[name];
      Reflect.deleteProperty(this, name);
      (this as Record<string, unknown>)[name] = value;
    }
  }

  /** The current snapshot. Undefined while the element watches nothing. */
  get snapshot(): Snapshot | undefined {
    return innerOf(this).panel.snapshot();
  }

  /** Fetches a fresh token when the current one expires, or when the attribute `token` is empty. */
  get refreshToken(): WatchOptions["refreshToken"] {
    return innerOf(this).refreshToken;
  }

  set refreshToken(refreshToken) {
    const inner = innerOf(this);
    inner.refreshToken = refreshToken;
    const snapshot = this.snapshot;
    // A running watch calls the new function when it needs it.
    if (!snapshot || snapshot.error) inner.panel.restart();
  }

  /**
   * Called when the payer presses the button to try again. Without it there is no button, except if the registered element
   * has a listener of `tryagain`. It may be set before the element is registered. While a promise that it returns is pending,
   * the button is busy; if the promise rejects, the payer is asked to try again in a moment.
   */
  get ontryagain(): OnTryAgain {
    return innerOf(this).ontryagain;
  }

  set ontryagain(listener) {
    const inner = innerOf(this);
    inner.ontryagain = listener;
    inner.panel.render();
  }

  override addEventListener<Type extends keyof HTMLElementEventMap>(
    type: Type,
    listener: (this: HTMLElement, event: HTMLElementEventMap[Type]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(type: string, listener: Listener, options?: boolean | AddEventListenerOptions): void;
  override addEventListener(type: string, listener: Listener, options?: boolean | AddEventListenerOptions): void {
    const inner = innerOf(this);
    const listeners = listenersOf(inner, options);
    const { once, signal, capture = options === true } = Object(options) as AddEventListenerOptions;
    if (type === "tryagain" && listener && !signal?.aborted && !listeners.has(listener)) {
      const drop = (): void => {
        if (listeners.get(listener) === drop) listeners.delete(listener);
        inner.panel.render();
      };
      // The browser drops a listener with `once` when it calls it. Added just before it, so that nothing is called between them.
      if (once) super.addEventListener(type, drop, { once, capture });
      signal?.addEventListener("abort", drop);
      listeners.set(listener, drop);
      inner.panel.render();
    }
    super.addEventListener(type, listener, options);
  }

  override removeEventListener<Type extends keyof HTMLElementEventMap>(
    type: Type,
    listener: (this: HTMLElement, event: HTMLElementEventMap[Type]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  override removeEventListener(type: string, listener: Listener, options?: boolean | EventListenerOptions): void;
  override removeEventListener(type: string, listener: Listener, options?: boolean | EventListenerOptions): void {
    super.removeEventListener(type, listener, options);
    const inner = innerOf(this);
    if (type === "tryagain" && listenersOf(inner, options).delete(listener)) inner.panel.render();
  }

  connectedCallback(): void {
    innerOf(this).panel.connect();
  }

  disconnectedCallback(): void {
    innerOf(this).panel.disconnect();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    const { panel } = innerOf(this);
    if (watchAttributes.includes(name)) panel.restart();
    else panel.render();
  }
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
