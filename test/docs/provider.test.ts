/** The code in docs/provider.md. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseSync } from "rolldown/utils";
import { describe, expect, it } from "vitest";
import { root, textOf } from "./markdown.ts";

describe("docs/provider.md", () => {
  const text = textOf("docs/provider.md");
  const files = [...text.matchAll(/^```ts (\S+)\n(.*?)^```/gms)].map(([, path = "", code = ""]) => ({ path, code }));
  const imports = files.flatMap(({ path, code }) =>
    parseSync(path, code).module.staticImports.flatMap(({ moduleRequest, entries }) =>
      entries
        .filter(({ isType }) => !isType)
        .map(({ importName }) => ({ from: moduleRequest.value, name: importName.name ?? "default", path })),
    ),
  );
  const own = imports.filter(({ from }) => from.startsWith("."));

  it.each(own)("imports an existing name: $name from $from", async ({ from, name, path }) => {
    const source = readFileSync(join(root, dirname(path), from), "utf8");
    const { staticExports } = parseSync(from, source).module;
    expect(staticExports.flatMap(({ entries }) => entries.map((entry) => entry.exportName.name))).toContain(name);
  });

  it("shows an adapter, a sandbox and a test", () => {
    expect(own.length).toBeGreaterThan(10);
  });
});
