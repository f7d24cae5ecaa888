/** The published package: its exports, and a fresh project that has only it. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { root } from "../docs/markdown.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, startNode } from "../support/node.ts";
import { machinePath, packMerchantSdk, type SdkPackage } from "../support/sdk-package.ts";

const exec = promisify(execFile);

let databaseUrl: string;
let sdk: SdkPackage;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  sdk = await packMerchantSdk();
  return async () => {
    await sdk.remove();
    await drop();
  };
});

describe("package", () => {
  it("satisfies publint", async () => {
    const { messages } = await publint({ pkgDir: sdk.folder, strict: true });
    expect(messages).toEqual([]);
  });

  it("has correct types for an import and for a require", async () => {
    const result = await checkPackage(createPackageFromTarballData(await readFile(sdk.tarball)));
    if (!result.types) throw new Error("the package has no types");
    expect(result.problems).toEqual([]);
    expect(Object.keys(result.entrypoints)).toEqual([".", "./package.json"]);
  });

  it("has two dependencies, its modules, the command, a README and a license, and no other file", async () => {
    const { dependencies } = JSON.parse(await readFile(join(sdk.folder, "package.json"), "utf8"));
    expect(Object.keys(dependencies)).toEqual(["openapi-fetch", "standardwebhooks"]);
    const { stdout } = await exec("tar", ["tzf", sdk.tarball]);
    const others = stdout
      .trim()
      .split("\n")
      .filter((file) => !/^package\/dist\/.*\.(js|d\.ts|js\.map)$/.test(file));
    expect(others.toSorted()).toEqual(
      ["LICENSE", "README.md", "bin/tukio.js", "dist/cjs/package.json", "package.json"].map(
        (file) => `package/${file}`,
      ),
    );
  });
});

describe("a fresh project", () => {
  /** Five minutes, because the packages come from the registry. */
  const projectMsMax = 300_000;

  it(
    "uses the package in the oldest supported Node as an ES module and as a CommonJS module, and with its types",
    async () => {
      const folder = await mkdtemp(join(tmpdir(), "tukio-merchant-"));
      onTestFinished(() => rm(folder, { recursive: true, force: true }));
      await cp(join(root, "test/fixture/project/merchant"), folder, { recursive: true });
      await cp(sdk.tarball, join(folder, "tukio-merchant.tgz"));
      const node = await startNode({ databaseUrl });
      const env = { HOME: folder, PATH: machinePath, TUKIO_URL: node.url, TUKIO_API_KEY: apiKey };
      const install = [
        "install",
        "--ignore-scripts",
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        "--prefer-offline",
      ];
      await exec("npm", install, { cwd: folder, env: { ...process.env, PATH: machinePath } });
      for (const file of ["main.mjs", "main.cjs"]) {
        const { stdout } = await exec("node", [file], { cwd: folder, env });
        expect(stdout.trim(), file).toBe("succeeded amount_invalid VerificationError");
      }
      const compiler = join(root, "node_modules/typescript/bin/tsc");
      for (const kind of ["mts", "cts"]) {
        const compile = exec(process.execPath, [compiler, "-p", join(folder, `tsconfig.${kind}.json`)]);
        await compile.catch(({ stdout }: { stdout: string }) => expect.unreachable(stdout));
      }
      const { stdout } = await exec("npx", ["tukio", "trigger", "succeeded", "--json"], { cwd: folder, env });
      expect(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")).toMatchObject({ status: "succeeded" });
    },
    projectMsMax,
  );
});
