/** The style of the results. It uses the colours of `style.ts` and is added with the first result. */

/** Black on white in every scheme, because many scanners read no light code on a dark ground. */
export const resultStyle = `
.results-box { width: 100%; outline: none; }
.results { margin: 1.5rem 0 1rem; padding-top: 0.75rem; border-top: 1px solid var(--line); text-align: start; }
.results-box ~ .detail { margin-top: 0.75rem; }
.results-title, .result-title, .result-list { margin: 0; padding: 0; }
.results-title { color: var(--muted); font-size: 0.9375rem; font-weight: 400; }
.result {
  display: block;
  margin-top: 0.75rem;
  padding: 1rem;
  border: 1px solid var(--line);
  border-radius: calc(var(--tukio-radius, 1rem) * 0.75);
  break-inside: avoid;
}
.result-title { font-size: 1.0625rem; font-weight: 600; }
.result-until { color: var(--muted); font-size: 0.9375rem; }
.expired .result-until { color: var(--caution); font-weight: 600; }
.expired .result-title, .expired .result-code { color: var(--muted); }
.qr { margin-top: 0.75rem; }
.qr svg {
  display: block;
  width: 100%;
  margin: 0 auto;
  border-radius: 0.25rem;
  forced-color-adjust: none;
  -webkit-print-color-adjust: exact;
  print-color-adjust: exact;
}
.result-code {
  margin-top: 0.75rem;
  font-family: ui-monospace, Menlo, Consolas, "Noto Sans Mono", monospace, var(--tukio-font, sans-serif);
  font-size: 1.25rem;
  font-weight: 600;
  text-align: center;
  -webkit-user-select: all;
  user-select: all;
}
.result-text { margin-top: 0.75rem; white-space: pre-line; }
.result-url { margin-top: 0.75rem; font-size: 0.9375rem; }
.copy, .result-link { display: block; margin-top: 0.75rem; text-align: center; }
.copy { border: 1px solid var(--muted); background: none; color: var(--ink); font-weight: 500; }
.has-link .result-url { display: none; }
.unseen { position: absolute; width: 1px; height: 1px; margin: 0; padding: 0; border: 0; overflow: hidden; opacity: 0; white-space: nowrap; }
@media print {
  .has-link .result-url { display: block; }
  .copy, .result-link { display: none; }
}
`;
