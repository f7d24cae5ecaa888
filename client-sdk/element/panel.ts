/**
 * The behaviour of `<order-status>`: watches the order that the attributes name, and shows it in the shadow tree.
 *
 * Attributes set in the same task start one watch. The panel watches only while the element is in the document.
 */
import { WatchError } from "../error.ts";
import { positionOf, type StatusEvent } from "../protocol.ts";
import { firstSnapshot, type Snapshot } from "../snapshot.ts";
import type { Watch, WatchOptions } from "../watch.ts";
import { countdownOf } from "./countdown.ts";
import { chooseLanguage, type Language } from "./language.ts";
import { isWaiting, mayBeLate, type PageFacts, presentationOf } from "./presentation.ts";
import { schemeOf } from "./scheme.ts";
import { addStyle } from "./style.ts";
import { createView, type View } from "./view.ts";
import { hint, watchOf } from "./watch.ts";

/** 5 s, because a page that has not started another payment by then may have failed to. */
const pressedMsMax = 5_000;

/** 3 s, because a page may set attributes and `refreshToken` after it has added the element. */
const setupMsMax = 3_000;

export interface Panel {
  /** Undefined while the panel watches nothing. */
  snapshot(): Snapshot | undefined;
  /** The element is in the document. */
  connect(): void;
  /** The element has left the document. */
  disconnect(): void;
  /** Starts another watch soon. */
  restart(): void;
  render(): void;
  /** Runs the page's answer to `tryagain`. The button is busy until it ends. */
  await(answer: () => Promise<unknown>): void;
}

export interface PanelOptions {
  element: HTMLElement;
  refreshToken: () => WatchOptions["refreshToken"];
  canTryAgain: () => boolean;
}

interface State extends PanelOptions {
  watch?: Watch | undefined;
  view?: View | undefined;
  /** Reports that an attribute is missing. */
  setup?: ReturnType<typeof setTimeout> | undefined;
  /** Stands for the watch that cannot start. */
  refused?: Snapshot | undefined;
  /** The view of results, which is loaded with the first one. */
  results?: Promise<typeof import("./result-view.ts")> | undefined;
  /** The last state that the page was notified of, or that is stored from before a reload. */
  notified?: StatusEvent | undefined;
  /** The state for which the payer pressed the button to try again. Further presses do nothing. */
  pressed?: string | undefined;
  /** The page's answer to the last press, if it gave one. */
  answer?: Promise<unknown> | undefined;
  /** The state for which that answer failed. */
  failed?: string | undefined;
  ticker?: ReturnType<typeof setInterval> | undefined;
  isStartDue: boolean;
  /** Undefined until its words are loaded. The element shows nothing until then, rather than another language. */
  language?: Language | undefined;
  /** The language tags that `language` was chosen by. */
  tags: string;
  /** The snapshot when the browser went offline. A later one shows that the network works. */
  offlineSince?: Snapshot | undefined;
  /** Removes the listeners of the window. */
  release: () => void;
}

export function createPanel(options: PanelOptions): Panel {
  const state: State = {
    ...options,
    isStartDue: false,
    tags: "",
    release: () => undefined,
  };
  return {
    snapshot: () => state.watch?.snapshot(),
    connect() {
      state.view ??= createShadow(state);
      state.release = listen(state);
      scheduleStart(state);
    },
    disconnect() {
      state.release();
      stop(state);
    },
    restart: () => scheduleStart(state),
    render: () => render(state),
    await(answer) {
      state.answer = answer();
    },
  };
}

function createShadow(state: State): View {
  const { element } = state;
  const root = element.attachShadow({ mode: "open" });
  addStyle(root);
  return createView({ root, onTryAgain: () => tryAgain(state), onSave: saveReceipt });
}

/** Names a state. Undefined without one. */
const nameOf = (event: StatusEvent | undefined): string | undefined => event && event.id + positionOf(event);

/**
 * Notifies the page once, until the state changes, the page's answer fails, or 5 s after it, because each notice may start a
 * payment.
 */
async function tryAgain(state: State): Promise<void> {
  const pressed = nameOf(state.notified);
  if (state.pressed === pressed) return;
  state.pressed = pressed;
  state.failed = undefined;
  const release = (): void => {
    if (state.pressed === pressed) state.pressed = undefined;
    render(state);
  };
  dispatch(state.element, "tryagain", state.notified);
  render(state);
  try {
    await state.answer;
    setTimeout(release, pressedMsMax);
  } catch (error) {
    console.error(error);
    state.failed = pressed;
    release();
  }
}

/** Shares the receipt, or prints the page if the browser cannot share it. */
function saveReceipt(text: string): void {
  if (!navigator.share) {
    print();
    return;
  }
  navigator.share({ text }).catch((error: unknown) => {
    // The payer may have closed the browser's dialog.
    if ((error as Error).name !== "AbortError") print();
  });
}

/** Renders again when the network or the visitor's colour preference changes. Returns a function that stops this. */
function listen(state: State): () => void {
  const update = (): void => render(state);
  const goOffline = (): void => {
    state.offlineSince = state.watch?.snapshot();
    render(state);
  };
  // Missing in jsdom, in which a merchant's tests run.
  const preference: MediaQueryList | undefined = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
  addEventListener("offline", goOffline);
  addEventListener("online", update);
  preference?.addEventListener("change", update);
  return () => {
    removeEventListener("offline", goOffline);
    removeEventListener("online", update);
    preference?.removeEventListener("change", update);
  };
}

function scheduleStart(state: State): void {
  if (state.isStartDue) return;
  state.isStartDue = true;
  queueMicrotask(() => {
    state.isStartDue = false;
    stop(state);
    if (state.element.isConnected) start(state);
  });
}

function start(state: State): void {
  state.watch = watchOf(state.element, state.refreshToken);
  if (!state.watch) {
    awaitSetup(state);
    render(state);
    return;
  }
  // The element shows a stored state, but notifies the page only when the server confirms it.
  state.notified = state.watch.snapshot().event;
  state.watch.subscribe(() => update(state));
  update(state);
}

/** A hidden element may wait for its payment as long as the page likes. */
function awaitSetup(state: State): void {
  const { element } = state;
  state.setup = setTimeout(() => (element.getClientRects()[0] ? refuse : awaitSetup)(state), setupMsMax);
}

/** Shows and reports that no watch can start. */
function refuse(state: State): void {
  state.refused = { ...firstSnapshot, connection: "closed", error: new WatchError("attribute_missing") };
  update(state, state.refused);
}

function stop(state: State): void {
  const { watch } = state;
  clearTimeout(state.setup);
  state.refused = undefined;
  state.watch = undefined;
  watch?.close();
  clearInterval(state.ticker);
  state.ticker = undefined;
}

function update(state: State, snapshot = state.watch?.snapshot()): void {
  if (!snapshot) return;
  render(state);
  const { event, error } = snapshot;
  if (event && event !== state.notified) {
    state.notified = event;
    dispatch(state.element, "statuschange", event);
  }
  if (!error) return;
  hint(state.element, error.code);
  dispatch(state.element, "watcherror", error);
}

function dispatch(element: HTMLElement, type: string, detail: unknown): void {
  element.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
}

/** Chooses the page's language, loads its words and renders again. */
function choose(state: State): void {
  const page = state.element.closest("[lang]")?.getAttribute("lang");
  const tags = page ? [page] : navigator.languages;
  if (state.tags === String(tags)) return;
  state.tags = String(tags);
  void chooseLanguage(tags, navigator.languages).then((language) => {
    if (state.tags !== String(tags)) return;
    state.language = language;
    render(state);
  });
}

/** Renders the snapshot, and again every second while the presentation depends on the time. */
function render(state: State): void {
  const { element, view } = state;
  choose(state);
  if (!view || !state.language) return;
  const snapshot = state.watch?.snapshot() ?? state.refused ?? firstSnapshot;
  const { event, skewMs } = snapshot;
  const { words, locale } = state.language;
  const time = event && countdownOf(event, skewMs);
  const timeZone = element.getAttribute("time-zone") ?? undefined;
  const page = factsOf(state);
  const isOffline = !navigator.onLine && (snapshot.connection !== "open" || snapshot === state.offlineSince);
  const isShown = (name: string | undefined): boolean => name !== undefined && name === nameOf(event);
  const presentation = {
    ...presentationOf(snapshot, { words, locale, timeZone, time, isOffline, page }),
    scheme: schemeOf(element),
    status: event?.status,
    isPressed: isShown(state.pressed),
    failure: isShown(state.failed) ? words.tryFailed : undefined,
  };
  view.show(presentation);
  if (event?.results?.length) state.results ??= import("./result-view.ts");
  state.results?.then(
    ({ showResults }) => showResults(element, snapshot, locale),
    // A newer server may not have the files of this version: the page must be reloaded.
    () => view.show({ ...presentation, note: words.stopped }),
  );
  view.progress(isWaiting(snapshot) ? time : undefined, words, locale);
  if (isWaiting(snapshot) || mayBeLate(snapshot, time)) state.ticker ??= setInterval(() => render(state), 1_000);
  else {
    clearInterval(state.ticker);
    state.ticker = undefined;
  }
}

/** The facts from the attributes. */
function factsOf({ element, canTryAgain }: State): PageFacts {
  const [merchant, item, contact, phone, retryUrl] = ["merchant", "item", "contact", "phone", "retry-url"].map(
    (name) => element.getAttribute(name) || undefined,
  );
  return {
    merchant,
    item,
    contact,
    phone,
    retryUrl: retryUrl && webAddress(retryUrl),
    canTryAgain: canTryAgain(),
    canShare: "share" in navigator,
  };
}

/** An absolute http(s) URL. Undefined for another scheme, such as `javascript:`. */
function webAddress(url: string): string | undefined {
  try {
    const { protocol, href } = new URL(url, document.baseURI);
    return /^https?:$/.test(protocol) ? href : undefined;
  } catch {
    return undefined; // Not a URL: there is no link.
  }
}
