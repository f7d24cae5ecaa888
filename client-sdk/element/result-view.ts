/**
 * The results in the element's shadow tree. Loaded with the first result, because most orders have none.
 *
 * A result keeps its elements while its id is in the list, and only what changed is written. So a result that arrives, changes or
 * goes away moves neither the focus nor the selection in the others.
 */
import type { Result } from "../protocol.ts";
import type { Snapshot } from "../snapshot.ts";
import { presentResult } from "./result.ts";
import { createResultItem, type ResultItem } from "./result-item.ts";
import { resultStyle } from "./result-style.ts";
import { type ResultWords, resultWordsOf } from "./result-words.ts";
import { addStyle } from "./style.ts";
import { part, setText } from "./view.ts";

/** 1 min, because a device may sleep or change its clock in a longer time, and because a removed element is kept for no longer. */
const checkMsMax = 60_000;

/** 200 ms, because screen readers do not announce a text that is there when its region appears. */
const announceMs = 200;

interface Context {
  locale: string;
  timeZone: string | undefined;
  /** Undefined while the server's time is unknown. */
  skewMs: number | undefined;
}

interface State {
  root: ShadowRoot;
  box: HTMLElement;
  section: HTMLElement;
  heading: HTMLElement;
  list: HTMLElement;
  /** The text that screen readers announce. */
  status: HTMLElement;
  items: Map<string, ResultItem>;
  results: readonly Result[];
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** The result that each element shows. */
const states = new WeakMap<HTMLElement, State>();

/** Shows the results of this snapshot, and only these, in an element that has its shadow tree. */
export function showResults(element: HTMLElement, { event, skewMs }: Snapshot, locale: string): void {
  const { shadowRoot } = element;
  if (!shadowRoot) return;
  const state = states.get(element) ?? createState(shadowRoot);
  states.set(element, state);
  const timeZone = element.getAttribute("time-zone") ?? undefined;
  show(state, event?.results ?? [], { locale, timeZone, skewMs });
}

/** Builds the shadow tree of the results, below the message. */
function createState(root: ShadowRoot): State {
  addStyle(root, resultStyle);
  const [heading, list, status] = [part("h3", "results-title"), part("ul", "result-list"), part("p", "unseen")];
  // Safari drops the role of a list without bullets.
  list.setAttribute("role", "list");
  status.setAttribute("role", "status");
  const section = part("div", "results", [heading, list]);
  const box = part("div", "results-box", [section, status]);
  // It takes the focus when the focused button goes away.
  box.tabIndex = -1;
  root.querySelector(".contact")?.after(box);
  return { root, box, section, heading, list, status, items: new Map(), results: [], timer: undefined };
}

function show(state: State, results: readonly Result[], context: Context): void {
  const { section, heading, timer } = state;
  clearTimeout(timer);
  const words = resultWordsOf(context.locale);
  const nowMs = Date.now() - (context.skewMs ?? Number.NaN);
  keepFocus(state, () => {
    section.hidden = results.length === 0;
    setText(heading, words.heading);
    showItems(state, results, { ...context, words, nowMs });
  });
  announceNew(state, results, words);
  state.results = results;
  const leftMs = results.map(({ expiresAt }) => Date.parse(expiresAt ?? "") - nowMs).filter((ms) => ms > 0);
  if (leftMs.length === 0) return;
  const check = (): void => {
    if (state.box.isConnected) show(state, state.results, context);
  };
  state.timer = setTimeout(check, Math.min(checkMsMax, ...leftMs));
}

function showItems(
  { items, list, status }: State,
  results: readonly Result[],
  options: Context & { words: ResultWords; nowMs: number },
): void {
  for (const [id, { element }] of items) {
    if (results.some((result) => result.id === id)) continue;
    element.remove();
    items.delete(id);
  }
  results.forEach((result, nth) => {
    const item = items.get(result.id) ?? createResultItem((text) => setText(status, text));
    items.set(result.id, item);
    item.show(presentResult(result, options), options.words);
    const { element } = item;
    if (list.children[nth] !== element) list.insertBefore(element, list.children[nth] ?? null);
  });
}

/** Runs a change. If it removes or hides the focused element, the payer stays at the results instead of the start of the page. */
function keepFocus({ root, box }: State, change: () => void): void {
  const { activeElement } = root;
  const isInside = box.contains(activeElement);
  change();
  if (isInside && (!box.contains(activeElement) || activeElement?.closest("[hidden]"))) {
    box.focus({ preventScroll: true });
  }
}

function announceNew({ status, results: before }: State, results: readonly Result[], { arrived }: ResultWords): void {
  const known = before.map((result) => JSON.stringify(result));
  const titles = results.filter((result) => !known.includes(JSON.stringify(result))).map(({ title }) => title);
  if (titles.length === 0) return;
  setTimeout(() => setText(status, arrived.replace("{titles}", titles.join(", "))), announceMs);
}
