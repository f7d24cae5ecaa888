/**
 * The guarantees of docs/architecture.md, held together with the code and the tests in both directions: every cited number exists, every
 * guarantee is cited by code and by the title of a test, the files of its row cite it, and its row names every test whose titles cite it.
 */
import { matchesGlob } from "node:path";
import { parseSync, Visitor } from "rolldown/utils";
import { describe, expect, it } from "vitest";
import { filesBelow, textOf } from "./markdown.ts";

const citation = /\((G\d+(?:, G\d+)*)\)/g;

/** Numbers that a text cites, such as `(G4)` or `(G4, G5)`. */
const citedIn = (text: string): string[] => [...text.matchAll(citation)].flatMap(([, names = ""]) => names.split(", "));

interface Node {
  type: string;
  name?: string;
  callee?: Node;
  object?: Node;
  tag?: Node;
}

/** The identifier that a call such as `it.each(rows)(title)` begins with. */
function nameOf(node: Node | undefined): string | undefined {
  if (node?.type === "Identifier") return node.name;
  return node && nameOf(node.callee ?? node.object ?? node.tag);
}

/** Titles of tests and their groups. */
function titlesOf(path: string): string[] {
  const titles: string[] = [];
  const source = textOf(path);
  new Visitor({
    CallExpression(call) {
      const name = nameOf(call.callee as unknown as Node);
      const [title] = call.arguments;
      if (title && name && /^(it|test|describe)$/.test(name)) titles.push(source.slice(title.start, title.end));
    },
  }).visit(parseSync(path, source).program);
  return titles;
}

/** Files by the guarantee that they cite. */
function citing(files: readonly string[], citedBy: (path: string) => string[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const path of files) {
    for (const name of citedBy(path)) found.set(name, (found.get(name) ?? new Set()).add(path));
  }
  return found;
}

const code = citing([...filesBelow("server", /\.(ts|js)$/), ...filesBelow("client-sdk", /\.ts$/)], (path) =>
  citedIn(textOf(path)),
);
const tests = citing(
  filesBelow("test", /\.ts$/).filter((path) => citedIn(textOf(path)).length > 0),
  (path) => titlesOf(path).flatMap(citedIn),
);

/** Files that a table's cell names in backticks. A name with an asterisk stands for all files that match. */
const filesIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, path = ""]) => path);

const rows = textOf("docs/architecture.md").matchAll(/^\| \*\*(G\d+)\*\* \| .+? \| (.+?) \| (.+?) \|$/gm);
const guarantees = [...rows].map(([, name = "", enforcing = "", proving = ""]) => ({
  name,
  enforcing: filesIn(enforcing),
  proving: filesIn(proving),
}));

describe("the guarantees", () => {
  it("are numbered from G1 to G12", () => {
    expect(guarantees.map(({ name }) => name)).toEqual(Array.from({ length: 12 }, (_, index) => `G${index + 1}`));
  });

  it("include every number that code or a test cites", () => {
    const known = guarantees.map(({ name }) => name);
    const unknown = [...code, ...tests].filter(([name]) => !known.includes(name));
    expect(unknown.map(([name, paths]) => [name, ...paths])).toEqual([]);
  });

  it.each(guarantees)("$name is cited by the code that enforces it", ({ name, enforcing }) => {
    expect(enforcing.length).toBeGreaterThan(0);
    expect([...(code.get(name) ?? [])]).toEqual(expect.arrayContaining(enforcing));
  });

  it.each(guarantees)(
    "$name is cited by the titles of the tests that prove it, and of no other",
    ({ name, proving }) => {
      expect(proving.length).toBeGreaterThan(0);
      const citingIt = [...(tests.get(name) ?? [])];
      expect(proving.filter((pattern) => !citingIt.some((path) => matchesGlob(path, pattern)))).toEqual([]);
      expect(citingIt.filter((path) => !proving.some((pattern) => matchesGlob(path, pattern)))).toEqual([]);
    },
  );
});
