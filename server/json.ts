/** JSON from outside. */

/** 100, because no recorded message nests deeper than 7, and parsing 64 KiB of brackets takes milliseconds. */
const depthMax = 100;

/** Parses JSON text. Throws `SyntaxError` for what is none, and for what is nested deeper than 100. */
export function parseJson(text: string): unknown {
  if (isNestedDeep(text)) throw new SyntaxError(`JSON is nested deeper than ${depthMax}`);
  return JSON.parse(text);
}

/** Counts brackets outside of strings; costs a fraction of parsing. */
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

/** The place of the quote that ends the string which begins at `start`; the text's end when there is none. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}
