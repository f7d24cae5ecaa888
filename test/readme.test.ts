import { existsSync, readFileSync } from "node:fs";
import { parseSync } from "rolldown/utils";
import { describe, expect, it } from "vitest";
import { errorTable } from "../server/errors.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

describe("the README", () => {
  it("lists the error codes of the source with their statuses and titles, all of them and no others", () => {
    const listed = [...readme.matchAll(/^\| `([a-z_]+)` \| (\d{3}) \| (.*) \|$/gm)].map(([, code, status, title]) => [
      code,
      Number(status),
      title,
    ]);
    expect(listed).toEqual(Object.entries(errorTable).map(([code, { status, title }]) => [code, status, title]));
  });

  it("names every variable that .env.example shows", () => {
    const example = readFileSync(new URL("../.env.example", import.meta.url), "utf8");
    for (const [, name] of example.matchAll(/^# ([A-Z_]+)=/gm)) expect(readme).toContain(name);
  });
});

/** Texts of table cells that name files of this repository, in backticks. */
const filesIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, path = ""]) => path);

describe("docs/architecture.md", () => {
  const text = readFileSync(new URL("../docs/architecture.md", import.meta.url), "utf8");
  const guarantees = [...text.matchAll(/^\| \*\*G(\d+)\*\* \| .+? \| (.+?) \| (.+?) \|$/gm)].map(
    ([, number = "", code = "", proofs = ""]) => ({
      number: Number(number),
      files: [...filesIn(code), ...filesIn(proofs)],
    }),
  );

  it("numbers the guarantees from 1 to 12", () => {
    expect(guarantees.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it.each(guarantees)("names existing files for G$number", ({ files }) => {
    expect(files.filter((file) => !existsSync(new URL(`../${file}`, import.meta.url)))).toEqual([]);
  });
});

describe("docs/provider.md", () => {
  const text = readFileSync(new URL("../docs/provider.md", import.meta.url), "utf8");
  const files = [...text.matchAll(/^```ts (\S+)\n(.*?)^```/gms)].map(([, path = "", code = ""]) => ({ path, code }));
  const imports = files.flatMap(({ path, code }) =>
    parseSync(path, code).module.staticImports.flatMap(({ moduleRequest, entries }) =>
      entries
        .filter(({ isType }) => !isType)
        .map(({ importName }) => ({ from: moduleRequest.value, name: importName.name ?? "default", path })),
    ),
  );
  const own = imports.filter(({ from }) => from.startsWith("."));

  it.each(own)("imports what there is: $name from $from", async ({ from, name, path }) => {
    const source = readFileSync(new URL(from, new URL(`../${path}`, import.meta.url)), "utf8");
    const { staticExports } = parseSync(from, source).module;
    expect(staticExports.flatMap(({ entries }) => entries.map((entry) => entry.exportName.name))).toContain(name);
  });

  it("shows an adapter, a sandbox and a test", () => {
    expect(own.length).toBeGreaterThan(10);
  });
});
