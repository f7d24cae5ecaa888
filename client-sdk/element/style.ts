/**
 * The element's style. A page themes it with the `--tukio-*` properties and the parts. The default text colours of both
 * schemes have a contrast of at least 4.5:1.
 *
 * The oldest browsers lack `:is()`, `gap` in a flex box, `overflow-wrap: anywhere` and `text-wrap`. A rule with an unknown
 * selector is dropped whole, so each rule here keeps the layout without them.
 */

/** One list of colours per scheme, because some supported browsers lack `light-dark()`. */
const dark = `
  --ink: var(--tukio-ink, #f3f4f6);
  --muted: var(--tukio-muted, #a3aab8);
  --surface: var(--tukio-surface, #15181f);
  --line: var(--tukio-line, #2b313d);
  --accent: var(--tukio-accent, #8ab4ff);
  --accent-ink: var(--tukio-accent-ink, #0b1220);
  --good: var(--tukio-good, #4ade80);
  --bad: var(--tukio-bad, #ff8a80);
  --caution: var(--tukio-caution, #fbbf4d);
`;

const light = `
  --ink: var(--tukio-ink, #12161f);
  --muted: var(--tukio-muted, #5b6474);
  --surface: var(--tukio-surface, #fff);
  --line: var(--tukio-line, #e3e6ec);
  --accent: var(--tukio-accent, #1a56db);
  --accent-ink: var(--tukio-accent-ink, #fff);
  --good: var(--tukio-good, #0b7a3b);
  --bad: var(--tukio-bad, #c0262d);
  --caution: var(--tukio-caution, #a35a00);
`;

/** The note appears after 2 s, because most links reconnect within that time and the payer need not see it. */
const cardStyle = `
:host { display: block; max-width: 26rem; }
:host([hidden]), [hidden] { display: none !important; }
.card { ${light} }
.dark { ${dark} }
.auto { color-scheme: light dark; }
@media (prefers-color-scheme: dark) { .auto { ${dark} } }

.card {
  box-sizing: border-box;
  display: flex;
  flex-direction: column;
  align-items: center;
  padding: clamp(1.25rem, 6vw, 2rem) clamp(1rem, 5vw, 2rem);
  border: 1px solid var(--line);
  border-radius: var(--tukio-radius, 1rem);
  background: var(--surface);
  color: var(--ink);
  font: 1rem/1.5 var(--tukio-font, system-ui, "Noto Sans", "Noto Sans Bengali", sans-serif);
  font-variant-numeric: tabular-nums;
  text-align: center;
  word-break: break-word;
  overflow-wrap: anywhere;
  --tone: var(--accent);
}
.light { color-scheme: light; }
.dark { color-scheme: dark; }
.neutral { --tone: var(--muted); }
.good { --tone: var(--good); }
.bad { --tone: var(--bad); }
.caution { --tone: var(--caution); }
p, h2, dl, dd { margin: 0; }

.test {
  margin-bottom: 1.25rem;
  padding: 0.125rem 0.75rem;
  border: 1px dashed currentcolor;
  border-radius: 2rem;
  color: var(--caution);
  font-size: 0.8125rem;
  font-weight: 600;
}
.sign { width: 6.5rem; height: 6.5rem; margin-bottom: 1rem; }
.sign svg { display: block; overflow: visible; }
.disc { fill: var(--tone); opacity: 0.1; }
.track, .ring, .icon { fill: none; stroke: var(--tone); stroke-width: 4; stroke-linecap: round; stroke-linejoin: round; }
.track { opacity: 0.2; }
.ring { stroke-dasharray: 100; transform: rotate(-90deg); transform-origin: center; }
.icon { stroke-width: 1.5; }
.over .track, .over .ring { display: none; }
.loud .disc { opacity: 1; }
.loud .icon { stroke: var(--surface); stroke-width: 2.6; }

.merchant { font-weight: 600; }
.item { color: var(--muted); font-size: 0.9375rem; }
.merchant + .sign, .item + .sign { margin-top: 1.25rem; }
.amount { color: var(--muted); font-size: 1.125rem; }
.good .amount { color: var(--ink); font-size: clamp(1.5rem, 8vw, 2rem); font-weight: 700; line-height: 1.2; }
.title {
  margin-top: 0.125rem;
  font-size: 1.5rem;
  font-weight: 600;
  line-height: 1.3;
  text-wrap: balance;
}
.text { margin: 0.5rem auto 0; max-width: 34ch; }
.help, .failure { margin: 0.75rem auto 0; max-width: 38ch; color: var(--muted); font-size: 0.9375rem; }
.quiet .help, .failure { color: inherit; font-weight: 600; }
.timer, .note, .contact { margin-top: 1rem; }
.contact { font-size: 0.9375rem; }
.contact-link { display: inline-block; color: var(--accent); font-weight: 600; }
.left { color: var(--tone); font-size: 1.125rem; font-weight: 600; }

.action {
  box-sizing: border-box;
  width: 100%;
  margin-top: 1.5rem;
  padding: 0.625rem 1.25rem;
  border: 0;
  border-radius: calc(var(--tukio-radius, 1rem) * 0.75);
  background: var(--accent);
  color: var(--accent-ink);
  font: inherit;
  font-weight: 600;
  line-height: 1.75rem;
  text-decoration: none;
  cursor: pointer;
}
.quiet .action, .save { border: 1px solid var(--muted); background: none; color: var(--ink); font-weight: 500; }
.save { margin-top: 1rem; }
[aria-disabled="true"] { opacity: 0.5; }
.action:hover { filter: brightness(1.1); }
.action:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }

.detail { width: 100%; margin-top: 1.5rem; padding-top: 0.75rem; border-top: 1px solid var(--line); }
.row { display: flex; justify-content: space-between; padding: 0.125rem 0; font-size: 0.9375rem; }
.label { margin-inline-end: 1rem; color: var(--muted); text-align: start; flex: none; }
.value { font-weight: 500; text-align: end; -webkit-user-select: all; user-select: all; }
.waited, .note { color: var(--muted); font-size: 0.875rem; }

@media (prefers-reduced-motion: no-preference) {
  .note { animation: appear 0.3s 2s both; }
  .waiting .known .ring { transition: stroke-dashoffset 1s linear; }
  .waiting .unknown .ring { animation: turn 1.4s linear infinite; }
}
@keyframes appear { from { opacity: 0; } }
@keyframes turn { to { transform: rotate(270deg); } }
@media print {
  .card { ${light} max-width: 26rem; break-inside: avoid; }
  .action, .note, .timer { display: none; }
}
@media (forced-colors: active) {
  .card, .action { border: 1px solid; }
  .disc { display: none; }
  .card .icon { stroke: CanvasText; }
}
`;

/**
 * Adds a style to a root. A constructed style sheet needs no exception in a Content Security Policy. Old browsers get a `<style>`
 * with the element's nonce.
 */
export function addStyle(root: ShadowRoot, css = cardStyle): void {
  if ("adoptedStyleSheets" in root && "replaceSync" in CSSStyleSheet.prototype) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
    return;
  }
  const style = document.createElement("style");
  style.nonce = (root.host as HTMLElement).nonce ?? "";
  style.textContent = css;
  root.append(style);
}
