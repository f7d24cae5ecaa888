/** Finds syntax in a script that the oldest supported browsers (Chrome 87, Safari 14, Firefox 78) cannot parse. */
import { parseAst } from "rolldown/parseAst";

interface Node {
  type: string;
  operator?: string;
  raw?: string | null;
  regex?: { pattern: string; flags: string };
  /** The name of `export * as name`. */
  exported?: { type: string } | null;
  attributes?: unknown[];
  kind?: string;
  /** Of `for await`. */
  await?: boolean;
}

/** What ES2021 and later added, and what ES2020 has and Safari 14 lacks. */
const faults: [name: string, fits: (node: Node) => boolean][] = [
  ["logical assignment", ({ operator }) => /^(\|\||&&|\?\?)=$/.test(operator ?? "")],
  ["numeric separator", ({ type, raw, regex }) => type === "Literal" && !regex && /^\d\w*_/.test(raw ?? "")],
  ["class field", ({ type }) => type === "PropertyDefinition" || type === "AccessorProperty"],
  ["private name", ({ type }) => type === "PrivateIdentifier"],
  ["static block", ({ type }) => type === "StaticBlock"],
  ["regular expression", ({ regex }) => regex !== undefined && /[dv]/.test(regex.flags)],
  ["lookbehind or modifiers", ({ regex }) => /\(\?(<[=!]|[a-z-]+:)/.test(regex?.pattern ?? "")],
  ["export * as", ({ type, exported }) => type === "ExportAllDeclaration" && Boolean(exported)],
  ["import attributes", ({ attributes }) => Boolean(attributes?.length)],
  ["string as a name", ({ type, exported }) => type === "ExportSpecifier" && exported?.type === "Literal"],
  ["using", ({ type, kind }) => type === "VariableDeclaration" && /using/.test(kind ?? "")],
];

const functions = ["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"];

/** Parses a module and returns the names of the syntax that is too new, each once. Throws if it is not JavaScript. */
export function newSyntax(code: string): string[] {
  const found = new Set<string>();
  visit(parseAst(code), { isInFunction: false, found });
  return [...found];
}

function visit(value: unknown, { isInFunction, found }: { isInFunction: boolean; found: Set<string> }): void {
  if (Array.isArray(value)) for (const one of value) visit(one, { isInFunction, found });
  if (!isNode(value)) return;
  for (const [name, fits] of faults) if (fits(value)) found.add(name);
  if (isAwait(value) && !isInFunction) found.add("top-level await");
  const isInner = isInFunction || functions.includes(value.type);
  for (const child of Object.values(value)) visit(child, { isInFunction: isInner, found });
}

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && "type" in value;

const isAwait = (node: Node): boolean => node.type === "AwaitExpression" || node.await === true;
