/**
 * Explains why a text is not JSON, and where. The messages of `JSON.parse` contain parts of the text, and not always the
 * place. Call it for text that `JSON.parse` has refused and that is not nested deep, because it descends by recursion.
 */

/** The place of the first fault, and what JSON needs there or has too much. */
class Fault extends Error {
  readonly at: number;
  readonly expected: string;
  readonly verb: "needs" | "has";

  constructor(at: number, expected: string, verb: "needs" | "has" = "needs") {
    super(expected);
    this.at = at;
    this.expected = expected;
    this.verb = verb;
  }
}

/** A sentence without any of the text: "is not JSON: line 1, column 24 needs a comma or }". Undefined for JSON. */
export function jsonFault(text: string): string | undefined {
  const json = text.replace(/^\ufeff/, "");
  try {
    const end = afterValue(json, 0);
    if (end < json.length) throw new Fault(end, "the end of the text");
    return undefined;
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    const before = json.slice(0, fault.at).split("\n");
    const place = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
    const isCut = fault.at >= json.length;
    return isCut
      ? `is not JSON: it ends at ${place}, which needs ${fault.expected}`
      : `is not JSON: ${place} ${fault.verb} ${fault.expected}`;
  }
}

/** The index after a match of a sticky pattern; `at` itself if it does not match. */
function after(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

const afterSpace = (text: string, at: number): number => after(/[ \t\r\n]*/y, text, at);

/** The index after a value and the spaces around it. */
function afterValue(text: string, start: number): number {
  const at = afterSpace(text, start);
  return afterSpace(text, afterBareValue(text, at));
}

function afterBareValue(text: string, at: number): number {
  if (text[at] === "{") return afterList(text, at, { close: "}", afterItem: afterField });
  if (text[at] === "[") return afterList(text, at, { close: "]", afterItem: afterValue });
  if (text[at] === '"') return afterString(text, at);
  const end = after(/(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/y, text, at);
  if (end === at) throw new Fault(at, "a value: a string in double quotes, a number, true, false, null, { or [");
  return end;
}

interface List {
  close: "}" | "]";
  afterItem: (text: string, at: number) => number;
}

function afterList(text: string, start: number, { close, afterItem }: List): number {
  let at = afterSpace(text, start + 1);
  if (text[at] === close) return at + 1;
  while (true) {
    at = afterItem(text, at);
    if (text[at] === close) return at + 1;
    if (text[at] !== ",") throw new Fault(at, `a comma or ${close}`);
    if (text[afterSpace(text, at + 1)] === close) throw new Fault(at, "a comma too many", "has");
    at += 1;
  }
}

function afterField(text: string, start: number): number {
  const at = afterSpace(text, start);
  if (text[at] !== '"') throw new Fault(at, "the name of a field in double quotes");
  const colon = afterSpace(text, afterString(text, at));
  if (text[colon] !== ":") throw new Fault(colon, "a colon");
  return afterValue(text, colon + 1);
}

function afterString(text: string, start: number): number {
  const at = after(/"(?:[^"\\\p{Cc}]|[\u007f-\u009f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*/uy, text, start);
  if (text[at] === '"') return at + 1;
  if (text[at] === undefined) throw new Fault(at, "the quote that ends the string");
  throw new Fault(at, text[at] === "\\" ? "a valid escape" : "an escape in place of a control character, such as \\n");
}
