/** The elements of one result. Data reaches the page only as text and attributes. */
import { copyText } from "./copy.ts";
import type { QrCode } from "./qr.ts";
import type { ResultPresentation } from "./result.ts";
import type { ResultWords } from "./result-words.ts";
import { svg } from "./svg.ts";
import { part, setAttribute, setText } from "./view.ts";

export interface ResultItem {
  element: HTMLElement;
  show(result: ResultPresentation, words: ResultWords): void;
}

/** 3 s, because a payer looks at the button right after the click. */
const copiedMs = 3_000;

/** The size of a module in rem: 4 px, which a phone reads from another screen. */
const moduleRem = 0.25;

/** 15 rem, because a small code with larger modules is easier to read. */
const qrRemMin = 15;

let count = 0;

/** `announce` tells screen readers that the code is copied. */
export function createResultItem(announce: (text: string) => void): ResultItem {
  const [title, until] = [part("h4", "result-title"), part("p", "result-until")];
  const [qr, code, text, url] = [
    part("div", "qr"),
    part("p", "result-code"),
    part("p", "result-text"),
    part("p", "result-url"),
  ];
  const link = part("a", "action result-link");
  const copy = createCopyButton(code, announce);
  const element = part("li", "result", [title, until, qr, code, copy.button, text, url, link]);
  // The direction of a text follows its own letters, and not the page's.
  for (const one of [title, until, code, text]) one.dir = "auto";
  url.dir = "ltr";
  count += 1;
  title.id = `result-${count}`;
  for (const one of [copy.button, link]) one.setAttribute("aria-describedby", title.id);
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return {
    element,
    show(result, words) {
      const { link: target } = result;
      setAttribute(element, "class", `result${result.isExpired ? " expired" : ""}${target ? " has-link" : ""}`);
      setText(title, result.title);
      setText(until, result.until);
      setText(code, result.code);
      setText(text, result.text);
      setText(url, result.url);
      setText(link, target?.label);
      if (target) setAttribute(link, "href", target.href);
      copy.show(result.code, words);
      showQr(qr, result.hasQr ? result.code : undefined, words.qr);
    },
  };
}

interface CopyButton {
  button: HTMLElement;
  /** Undefined hides the button. */
  show(code: string | undefined, words: ResultWords): void;
}

function createCopyButton(shown: HTMLElement, announce: (text: string) => void): CopyButton {
  const button = part("button", "action copy");
  let current: { code: string; words: ResultWords } | undefined;
  let label: "copy" | "copied" | "selected" = "copy";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const write = (): void => setText(button, current?.words[label]);
  const end = (): void => {
    clearTimeout(timer);
    label = "copy";
    write();
  };
  button.addEventListener("click", async () => {
    if (!current) return;
    const { code } = current;
    const isCopied = await copyText(code, button.parentElement ?? button);
    if (current?.code !== code) return;
    if (!isCopied) getSelection()?.selectAllChildren(shown);
    end();
    label = isCopied ? "copied" : "selected";
    write();
    announce(current.words[label]);
    timer = setTimeout(() => {
      announce("");
      end();
    }, copiedMs);
  });
  return {
    button,
    show(code, words) {
      const isOther = code !== current?.code;
      current = code === undefined ? undefined : { code, words };
      // The copy is of the code before.
      if (isOther) end();
      else write();
    },
  };
}

/** Shows the code as a QR code, or nothing if it cannot be loaded or is too long: the payer has the code as text. */
function showQr(frame: HTMLElement, code: string | undefined, label: string): void {
  const [drawing] = frame.children;
  if (drawing) setAttribute(drawing, "aria-label", label);
  if (frame.dataset.code === (code ?? "")) return;
  frame.dataset.code = code ?? "";
  frame.replaceChildren();
  frame.hidden = true;
  if (code === undefined) return;
  import("./qr.ts")
    .then(({ encodeQr }) => {
      const drawn = draw(encodeQr(code), label);
      if (frame.dataset.code !== code) return;
      frame.replaceChildren(drawn);
      frame.hidden = false;
    })
    .catch(() => frame.replaceChildren());
}

function draw({ size, path }: QrCode, label: string): SVGElement {
  const viewBox = `0 0 ${size} ${size}`;
  const drawing = svg("svg", { viewBox, role: "img", "aria-label": label, "shape-rendering": "crispEdges" }, [
    svg("rect", { width: size, height: size, fill: "#fff" }),
    svg("path", { d: path, fill: "#000" }),
  ]);
  drawing.style.maxWidth = `${Math.max(qrRemMin, size * moduleRem)}rem`;
  return drawing;
}
