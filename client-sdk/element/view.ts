/**
 * The element's shadow tree. It is built once and then changed only where the presentation changes, so that focus,
 * selection and screen readers are not disturbed. Data reaches the page only as text and attributes.
 */
import { type Countdown, formatDuration } from "./countdown.ts";
import { iconPath, svg } from "./icon.ts";
import type { Presentation } from "./presentation.ts";
import type { Words } from "./words.ts";

export interface View {
  show(presentation: Presentation, look: Look): void;
  /** Shows the time, which screen readers do not announce. Undefined hides it. */
  progress(time: Countdown | undefined, words: Words, locale: string): void;
}

/** The parts of the view that depend on the page and on the order's status. */
export interface Look {
  scheme: "light" | "dark" | "auto";
  /** The name of the slot for the merchant's content for this status. */
  status: string | undefined;
}

export interface ViewOptions {
  root: ShadowRoot;
  onTryAgain: () => void;
}

/** The classes of each tone: a ring while the payer waits, a full disc for a clear result. */
const emphasis: Record<Presentation["tone"], string> = {
  waiting: "",
  good: "over loud",
  bad: "over loud",
  caution: "over",
};

/** Builds the shadow tree. */
export function createView({ root, onTryAgain }: ViewOptions): View {
  const sign = createSign();
  const test = part("p", "test");
  const amount = part("p", "amount");
  const title = part("h2", "title");
  const text = part("p", "text");
  const left = part("p", "left");
  const waited = part("p", "waited");
  const live = part("div", "message", [title, text]);
  // The role is polite and atomic: screen readers announce the whole message.
  live.setAttribute("role", "status");
  const timer = part("div", "timer", [left, waited]);
  timer.setAttribute("role", "timer");
  const link = part("a", "action link");
  const button = part("button", "action button");
  button.type = "button";
  button.addEventListener("click", onTryAgain);
  const own = document.createElement("slot");
  const detail = part("dl", "detail");
  const note = part("p", "note");
  const card = part("section", "card", [
    slot("header"),
    test,
    sign.element,
    amount,
    live,
    timer,
    link,
    button,
    own,
    detail,
    note,
    slot(""),
  ]);
  root.append(card);

  return {
    show(presentation, { scheme, status }) {
      const { tone } = presentation;
      setAttribute(card, "class", `card ${tone} ${scheme} ${emphasis[tone]}`);
      sign.show(presentation);
      setText(test, presentation.test);
      setText(amount, presentation.amount);
      setText(title, presentation.title);
      setText(text, presentation.text);
      setText(note, presentation.note);
      const { label, href } = presentation.action ?? {};
      setText(link, href && label);
      setText(button, href ? undefined : label);
      if (href) setAttribute(link, "href", href);
      if (status) setAttribute(own, "name", status);
      showRows(detail, presentation.detail);
    },

    progress(time, words, locale) {
      const { elapsedMs = 0, totalMs = 0 } = time ?? {};
      const leftMs = totalMs - elapsedMs;
      const isLeft = leftMs > 0;
      sign.progress(isLeft ? leftMs / totalMs : undefined);
      setText(left, isLeft ? `${formatDuration(leftMs, locale)} ${words.left}` : undefined);
      setText(waited, words.waited.replace("{time}", formatDuration(elapsedMs, locale)));
      timer.hidden = !time;
    },
  };
}

/** The icon in its ring, which empties as time passes. */
function createSign(): {
  element: HTMLElement;
  show(presentation: Presentation): void;
  progress(share: number | undefined): void;
} {
  const ring = svg("circle", { cx: 50, cy: 50, r: 47, pathLength: 100, class: "ring" });
  const path = svg("path", { class: "icon", transform: "translate(22 22) scale(2.333)" });
  const drawing = svg("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" }, [
    svg("circle", { cx: 50, cy: 50, r: 49, class: "disc" }),
    svg("circle", { cx: 50, cy: 50, r: 47, class: "track" }),
    ring,
    path,
  ]);
  const element = part("div", "sign");
  element.append(drawing);
  return {
    element,
    show: ({ icon }) => setAttribute(path, "d", iconPath(icon)),
    progress(share) {
      setAttribute(element, "class", share === undefined ? "sign unknown" : "sign known");
      setAttribute(ring, "stroke-dashoffset", (100 * (1 - (share ?? 0.25))).toFixed(2));
    },
  };
}

function showRows(list: HTMLElement, rows: Presentation["detail"]): void {
  const text = JSON.stringify(rows);
  if (list.dataset.rows === text) return;
  list.dataset.rows = text;
  list.hidden = rows.length === 0;
  list.replaceChildren(
    ...rows.map(([label, value]) => {
      const [term, definition] = [part("dt", "label"), part("dd", "value")];
      term.textContent = label;
      definition.textContent = value;
      return part("div", "row", [term, definition]);
    }),
  );
}

/** Creates an element that a page can style by its part name. */
function part<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  parts: string,
  children: Node[] = [],
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  element.setAttribute("part", parts);
  element.className = parts;
  element.append(...children);
  return element;
}

function slot(name: string): HTMLSlotElement {
  const element = document.createElement("slot");
  if (name !== "") element.name = name;
  return element;
}

/** Writes only changes, because a screen reader announces a text again when it is written again. */
function setText(element: HTMLElement, text: string | undefined): void {
  element.hidden = text === undefined;
  if (element.textContent !== (text ?? "")) element.textContent = text ?? "";
}

function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}
