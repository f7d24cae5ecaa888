/** The documentation as the tests read it: files, fenced blocks, links and named files. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

export const root = join(import.meta.dirname, "../..");

/** The examples, by the names of their folders. */
export const examples: readonly string[] = readdirSync(join(root, "examples"), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

const folders = [
  ".",
  "docs",
  "docs/guide",
  "client-sdk",
  "merchant-sdk",
  "desk",
  "deploy",
  "test/attack",
  "examples",
  ...examples.map((name) => `examples/${name}`),
];

/** Every Markdown file, by its path from the root. */
export const documents: readonly string[] = folders.flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name)),
);

export const textOf = (path: string): string => readFileSync(join(root, path), "utf8");

/** A fenced block. */
export interface Block {
  language: string;
  /** What follows the language, such as the name of the file that it is. */
  info: string;
  code: string;
  /** Why the tests do not run it, from the comment above it. */
  reason?: string;
  /** The block that follows at once shows what it prints. */
  prints?: Block;
}

const fence = /^(?:<!-- not run: (.+) -->\n)?```(\w*)(?: (\S+))?\n([\s\S]*?)^```$/gm;

export function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  let endOfLast = 0;
  for (const match of text.matchAll(fence)) {
    const [all, reason, language = "", info = "", code = ""] = match;
    const block: Block = { language, info, code, ...(reason !== undefined && { reason }) };
    const last = blocks.at(-1);
    const isAtOnce = text.slice(endOfLast, match.index).trim() === "";
    if (last?.language === "sh" && isAtOnce && (language === "json" || language === "")) last.prints = block;
    endOfLast = match.index + all.length;
    blocks.push(block);
  }
  return blocks;
}

/** A document without its fenced blocks. */
export const proseOf = (text: string): string => text.replace(fence, "");

/** The anchors of a document's headings, as GitHub makes them. */
export const anchorsOf = (text: string): string[] =>
  [...proseOf(text).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .replace(/\[([^\]]+)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );

/** Links to files of this repository: path and anchor. */
export const linksOf = (text: string): { path: string; anchor: string }[] =>
  [...proseOf(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = ""]) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path = "", anchor = ""] = target.split("#", 2);
      return { path, anchor };
    });

const codeOf = (text: string): string[] => [...proseOf(text).matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);

/** Files of this repository that a document names in backticks. Those of `bench/out` are made by a run. */
export const filesNamedIn = (text: string): string[] =>
  codeOf(text).flatMap(
    (code) =>
      code.match(
        /^(?:server|test|examples|client-sdk|merchant-sdk|desk|bench(?!\/out\/)|docs|deploy|migration)\/[\w./@-]+$/g,
      ) ?? [],
  );

/** Commands of npm and Node that a document names in backticks. */
export const commandsNamedIn = (text: string): string[] =>
  codeOf(text).filter((code) => /^(npm (run|test|start)|npx|node) ?/.test(code));

export const exists = (path: string): boolean => existsSync(join(root, path));

/** Files below a folder whose names match, by their paths from the root. */
export const filesBelow = (folder: string, name: RegExp): string[] =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && name.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !/(^|\/)(node_modules|dist)\//.test(path));
