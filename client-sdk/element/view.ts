/**
 * The element's shadow tree. It is built once and then changed only where the presentation changes, so that focus,
 * selection and screen readers are not disturbed. Data reaches the page only as text and attributes.
 */
import { type Countdown, formatDuration } from "./countdown.ts";
import { iconPath } from "./icon-path.ts";
import type { Presentation } from "./presentation.ts";
import type { Scheme } from "./scheme.ts";
import { svg } from "./svg.ts";
import type { Words } from "./words.ts";

export interface View {
  show(presentation: Presentation & Look): void;
  /** Shows the time, which screen readers do not announce. Undefined hides it. */
  progress(time: Countdown | undefined, words: Words, locale: string): void;
}

/** The parts of the view that depend on the page and on the order's status. */
export interface Look {
  scheme: Scheme;
  /** The name of the slot for the merchant's content for this status. */
  status: string | undefined;
  /** The payer has just pressed the button to try again. */
  isPressed: boolean;
  /** The page could not start another payment. */
  failure: string | undefined;
}

export interface ViewOptions {
  root: ShadowRoot;
  onTryAgain: () => void;
  /** Receives the lines of the receipt. */
  onSave: (receipt: string) => void;
}

/** The classes of each tone: a ring while the payer waits, a full disc for a clear result. */
const emphasis: Record<Presentation["tone"], string> = {
  waiting: "",
  good: "over loud",
  bad: "over loud",
  neutral: "over",
  caution: "over",
};

/** The parts that show one text of the presentation. */
const textParts = {
  test: "p",
  merchant: "p",
  item: "p",
  amount: "p",
  title: "h2",
  text: "p",
  help: "p",
  failure: "p",
  note: "p",
  save: "button",
} as const;

type TextPart = keyof typeof textParts;

/** Builds the shadow tree. */
export function createView({ root, onTryAgain, onSave }: ViewOptions): View {
  const sign = createSign();
  const texts = Object.fromEntries(
    Object.entries(textParts).map(([name, tag]) => [name, part(tag, name)]),
  ) as unknown as Record<TextPart, HTMLElement>;
  const { test, merchant, item, amount, title, text, help, failure, note, save } = texts;
  const live = part("div", "message", [title, text, help, failure]);
  // The role is polite and atomic: screen readers announce the whole message.
  live.setAttribute("role", "status");
  const timer = createTimer();
  const link = part("a", "action link");
  const button = part("button", "action button");
  const contact = part("p", "contact");
  const own = slot("own");
  const detail = part("dl", "detail");
  let receipt = "";
  button.addEventListener("click", onTryAgain);
  save.classList.add("action");
  save.addEventListener("click", () => onSave(receipt));
  const { element: clock } = timer;
  const above = [slot("header"), test, merchant, item, sign.element, amount, live, clock];
  const card = part("section", "card", [...above, link, button, contact, own, detail, save, note, slot("")]);
  root.append(card);

  return {
    show(presentation) {
      const { tone, action, scheme, status, isPressed } = presentation;
      setAttribute(card, "class", `card ${tone} ${scheme} ${emphasis[tone]}${action?.isQuiet ? " quiet" : ""}`);
      sign.show(presentation);
      for (const name of Object.keys(textParts) as TextPart[]) setText(texts[name], presentation[name]);
      setText(link, action?.href && action.label);
      setText(button, action?.href ? undefined : action?.label);
      for (const name of ["aria-disabled", "aria-busy"]) setAttribute(button, name, String(isPressed));
      if (action?.href) setAttribute(link, "href", action.href);
      if (status) setAttribute(own, "name", status);
      showContact(contact, presentation.contact);
      showRows(detail, presentation.detail);
      receipt = receiptOf(presentation);
    },
    progress(time, words, locale) {
      sign.progress(timer.show(time, words, locale));
    },
  };
}

/** The clock. `show` returns the share of the time that is left; undefined if none is, or if it is unknown. */
function createTimer(): { element: HTMLElement; show(...progress: Parameters<View["progress"]>): number | undefined } {
  const [left, waited] = [part("p", "left"), part("p", "waited")];
  const element = part("div", "timer", [left, waited]);
  element.setAttribute("role", "timer");
  return {
    element,
    show(time, words, locale) {
      const { elapsedMs = 0, totalMs = 0 } = time ?? {};
      const leftMs = totalMs - elapsedMs;
      const isLeft = leftMs > 0;
      setText(left, isLeft ? `${formatDuration(leftMs, locale)} ${words.left}` : undefined);
      setText(waited, isLeft ? undefined : words.waited.replace("{time}", formatDuration(elapsedMs, locale)));
      element.hidden = !time;
      return isLeft ? leftMs / totalMs : undefined;
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

function showContact(element: HTMLElement, contact: Presentation["contact"]): void {
  element.hidden = !contact;
  const { label = "", text = "", href } = contact ?? {};
  if (element.textContent === `${label} ${text}`) return;
  const link = part("a", "contact-link");
  link.textContent = text;
  if (href) link.href = href;
  element.replaceChildren(label, " ", link);
}

/** The lines of the receipt as text, for an app that the payer shares it with. */
const receiptOf = ({ merchant, item, amount, title, detail }: Presentation): string =>
  [merchant, item, amount && `${amount} – ${title}`, ...detail.map(([label, value]) => `${label}: ${value}`)]
    .filter(Boolean)
    .join("\n");

/** Creates an element that a page can style by its part name. A button needs no type, because a shadow tree has no form. */
export function part<Name extends keyof HTMLElementTagNameMap>(
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
export function setText(element: HTMLElement, text: string | undefined): void {
  element.hidden = text === undefined;
  if (element.textContent !== (text ?? "")) element.textContent = text ?? "";
}

export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}
