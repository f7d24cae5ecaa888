/** Because no recorded message nests deeper than 7, and parsing 64 KiB of brackets takes milliseconds. */
const depthMax = 100;

/**
 * Parses JSON from outside. A byte order mark at its beginning is skipped (RFC 8259, section 8.1). Throws `SyntaxError` for
 * text that is not JSON or is nested deeper than 100.
 */
export function parseJson(text: string): unknown {
  if (isNestedDeep(text)) throw new SyntaxError(`JSON is nested deeper than ${depthMax}`);
  return JSON.parse(withoutMark(text));
}

const withoutMark = (text: string): string => (text.startsWith("\ufeff") ? text.slice(1) : text);

/** Whether the text is nested deeper than 100. Counts brackets outside of strings, which costs a fraction of parsing. */
export function isNestedDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === "[" || character === "{") depth += 1;
    else if (character === "]" || character === "}") depth -= 1;
    if (depth > depthMax) return true;
  }
  return false;
}

/** The index of the quote that ends the string at `start`, or the end of the text. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}
