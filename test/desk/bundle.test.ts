/** What a browser loads before it shows the desk. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import { writeBundle } from "../../desk/build/bundle.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tukio-desk-"));
  await writeBundle(folder);
  return () => rm(folder, { recursive: true, force: true });
});

const textOf = (name: string): Promise<string> => readFile(join(folder, name), "utf8");

/** The names of the files that a file loads at once. A screen loads the ones that it alone needs. */
const loadedBy = (text: string): string[] =>
  [...text.matchAll(/(?:src|href)="\.\/(assets\/[^"]+)"|\bfrom ?"\.\/([^"]+)"|\bimport ?"\.\/([^"]+)"/g)].map(
    ([, ofPage, imported, effect]) => ofPage ?? `assets/${imported ?? effect}`,
  );

async function firstLoad(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const waiting = ["index.html"];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    // The server has the icon.
    if (found.has(name) || name.endsWith(".svg")) continue;
    const text = await textOf(name);
    found.set(name, text);
    waiting.push(...loadedBy(text));
  }
  return found;
}

describe("the desk's files", () => {
  it("have at most 250 kB at the first load, compressed, with the largest screen", async () => {
    const first = await firstLoad();
    const sizeOf = (text: string): number => gzipSync(text).length;
    const lazy = (await readdir(join(folder, "assets")))
      .map((name) => `assets/${name}`)
      .filter((name) => !first.has(name));
    const sizes = await Promise.all(lazy.map(async (name) => sizeOf(await textOf(name))));
    const total = [...first.values()].reduce((sum, text) => sum + sizeOf(text), 0);
    expect([...first.keys()].some((name) => name.endsWith(".js"))).toBe(true);
    expect(lazy.some((name) => name.endsWith(".js"))).toBe(true);
    // All screens together, which is more than any of them needs.
    expect(total + sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(250_000);
  });

  it("have no code or style in the page, which its policy forbids", async () => {
    const page = await textOf("index.html");
    expect(page).not.toMatch(/<style|<script(?![^>]* src=)|\bon\w+=|\bstyle=/);
  });

  it("name nothing outside the folder, because the policy allows no other origin", async () => {
    for (const [name, text] of await firstLoad()) {
      if (!name.endsWith(".js")) expect(text, name).not.toMatch(/https?:\/\//);
    }
  });
});
