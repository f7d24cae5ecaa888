/** The code in docs/provider.md, in a copy of the server that has it. */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { blocksOf, root, textOf } from "./markdown.ts";

const text = textOf("docs/provider.md");
const blocks = blocksOf(text).filter(({ language }) => language === "ts");
const files = blocks.filter(({ info }) => info.includes("kasha"));
const registryLines = blocks.find(({ info }) => info === "server/provider/registry.ts")?.code ?? "";

/** A copy of the sources, with the files of the document in it and their lines in the registry. */
function copySources(): string {
  const copy = mkdtempSync(join(tmpdir(), "tukio-docs-"));
  for (const path of [
    "server",
    "test",
    "client-sdk",
    "merchant-sdk",
    "desk",
    "package.json",
    "tsconfig.json",
    "vitest.config.ts",
  ]) {
    cpSync(join(root, path), join(copy, path), {
      recursive: true,
      filter: (source) => !/\/(node_modules|dist)$/.test(source),
    });
  }
  for (const path of ["node_modules", "merchant-sdk/node_modules"]) symlinkSync(join(root, path), join(copy, path));
  for (const { info, code } of files) {
    mkdirSync(dirname(join(copy, info)), { recursive: true });
    writeFileSync(join(copy, info), code);
  }
  const registry = join(copy, "server/provider/registry.ts");
  const [imports = "", row = ""] = registryLines.split("\n\n");
  writeFileSync(
    registry,
    imports + readFileSync(registry, "utf8").replace(/(export const registry = \{\n)/, `$1${row}`),
  );
  return copy;
}

/** The errors of the TypeScript compiler in this folder: the file and the message of each. */
async function typeErrorsIn(folder: string): Promise<{ file: string; message: string }[]> {
  const tsconfig = join(folder, "tsconfig.docs.json");
  writeFileSync(tsconfig, JSON.stringify({ extends: "./tsconfig.json", include: ["server", "test"] }));
  const output = await new Promise<string>((resolve) => {
    const compiler = join(root, "node_modules/typescript/bin/tsc");
    execFile(process.execPath, [compiler, "-p", tsconfig, "--pretty", "false"], { cwd: folder }, (_error, stdout) =>
      resolve(stdout),
    );
  });
  return [...output.matchAll(/^(\S+)\(\d+,\d+\): error (.+)$/gm)].map(([, file = "", message = ""]) => ({
    file,
    message,
  }));
}

describe("docs/provider.md", () => {
  let errors: { file: string; message: string }[];

  beforeAll(async () => {
    const copy = copySources();
    try {
      errors = await typeErrorsIn(copy);
    } finally {
      rmSync(copy, { recursive: true });
    }
  }, 300_000);

  it("shows an adapter, a sandbox and a contract test", () => {
    expect(files.map(({ info }) => info)).toEqual([
      "server/provider/kasha/adapter.ts",
      "server/provider/kasha/sandbox.ts",
      "test/provider/kasha/contract.test.ts",
    ]);
  });

  it("shows code that compiles", () => {
    expect(errors.filter(({ file, message }) => file.includes("kasha") || !message.includes("'kasha'"))).toEqual([]);
  });

  it("names each file in which the compiler then misses a row", () => {
    const incomplete = [...new Set(errors.map(({ file }) => file))];
    const named = [...text.matchAll(/^\| `(test\/[^`]+)` \|/gm)].map(([, file = ""]) => file);
    expect(named.toSorted()).toEqual(incomplete.toSorted());
  });
});
