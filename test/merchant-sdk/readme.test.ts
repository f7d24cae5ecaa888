/** The programs in the README of the merchant's SDK compile against the published package, with its types. */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";
import { blocksOf, root, textOf } from "../docs/markdown.ts";
import { packMerchantSdk, type SdkPackage } from "../support/sdk-package.ts";

const exec = promisify(execFile);

let sdk: SdkPackage;
beforeAll(async () => {
  sdk = await packMerchantSdk();
  return sdk.remove;
});

const compilerOptions = {
  target: "ES2022",
  lib: ["ES2022"],
  module: "NodeNext",
  types: ["node"],
  strict: true,
  noImplicitAny: false,
  allowJs: true,
  checkJs: true,
  noEmit: true,
};

it("the programs of the README compile", async () => {
  const programs = blocksOf(textOf("merchant-sdk/README.md")).filter(({ language }) => language === "js");
  expect(programs.length).toBeGreaterThan(1);
  const folder = join(sdk.folder, "project");
  await mkdir(folder);
  for (const [nth, { code }] of programs.entries()) await writeFile(join(folder, `program-${nth}.mjs`), code);
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.mjs"] }));
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const compile = exec(process.execPath, [compiler, "-p", folder], { cwd: folder });
  await compile.catch(({ stdout }: { stdout: string }) => expect.unreachable(stdout));
});
