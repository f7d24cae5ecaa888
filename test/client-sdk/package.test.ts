/** The published package: its size, its exports, and the platforms that it supports. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { beforeAll, describe, expect, it } from "vitest";
import { type BundledFile, bundle, writeBundle } from "../../client-sdk/build/bundle.ts";
import { readBrowserFiles } from "../../client-sdk/build/served.ts";

const exec = promisify(execFile);
const root = join(import.meta.dirname, "../..");
const source = join(root, "client-sdk");

const gzipBytes = ({ code }: BundledFile): number => gzipSync(code, { level: 9 }).length;

/** Bundles the entry, which a page loads first. It must not import another file statically. */
async function entryOf(file: string): Promise<BundledFile> {
  const [entry] = await bundle(file);
  if (!entry) throw new Error("nothing was bundled");
  expect(entry.code).not.toMatch(/(^|;)import[^(]/);
  return entry;
}

describe("size", () => {
  it("is at most 5 kB for the core, with every transport but without the Socket.IO client", async () => {
    expect(gzipBytes(await entryOf("index.ts"))).toBeLessThanOrEqual(5_000);
  });

  it("is at most 9 kB for the element, in English and with the long poll", async () => {
    expect(gzipBytes(await entryOf("element.ts"))).toBeLessThanOrEqual(9_000);
  });
});

describe("browser bundle", () => {
  it("keeps the Socket.IO client and the other languages out of tukio.js", async () => {
    const files = await bundle();
    const [entry, ...chunks] = files;
    expect(entry?.name).toBe("tukio.js");
    expect(entry?.code).not.toContain("EIO");
    expect(chunks.filter(({ code }) => code.includes("EIO"))).toHaveLength(1);
    expect(chunks.map(({ name }) => name.replace(/-[\w-]{8}\.js$/, "")).sort()).toEqual([
      "other-transport",
      "socketio-link",
      "words-bn",
      "words-sw",
    ]);
  });

  it("is read with the headers that a server needs", async () => {
    const folder = await mkdtemp(join(source, ".test-"));
    try {
      await writeBundle(folder);
      const files = await readBrowserFiles(pathToFileURL(`${folder}/`));
      const { body, ...rest } = files.get("tukio.js") ?? {};
      expect(body?.toString()).toContain("order-status");
      expect(rest).toEqual({
        contentType: "text/javascript; charset=utf-8",
        integrity: expect.stringMatching(/^sha384-[\w+/]{64}$/),
        immutable: false,
      });
      const chunk = [...files].find(([name]) => /^socketio.*\.js$/.test(name));
      expect(chunk?.[1].immutable).toBe(true);
    } finally {
      await rm(folder, { recursive: true });
    }
    await expect(readBrowserFiles(new URL("file:///nowhere/"))).rejects.toThrow("npm run build:sdk");
  });
});

describe("package", () => {
  let folder: string;
  let tarball: Uint8Array;
  beforeAll(async () => {
    // Inside the workspace, so that Node finds the dependencies.
    folder = await mkdtemp(join(source, ".test-"));
    await exec("npx", ["tsc", "-p", "tsconfig.build.json", "--outDir", join(folder, "dist")], { cwd: source });
    await writeBundle(join(folder, "dist/browser"));
    for (const file of ["package.json", "README.md"]) await cp(join(source, file), join(folder, file));
    const { stdout } = await exec("npm", ["pack", "--json", "--ignore-scripts"], { cwd: folder });
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    tarball = await readFile(join(folder, filename));
    await rm(join(folder, filename));
    return () => rm(folder, { recursive: true });
  });

  it("satisfies publint", async () => {
    const { messages } = await publint({ pkgDir: folder, strict: true });
    expect(messages).toEqual([]);
  });

  it("has correct types for an import as an ES module", async () => {
    const result = await checkPackage(createPackageFromTarballData(tarball));
    if (!result.types) throw new Error("the package has no types");
    // The package is an ES module only, so Node 10 and `require` of a CommonJS module do not count.
    const isOurs = (problem: object): boolean => {
      const { resolutionKind } = problem as { resolutionKind?: string };
      return resolutionKind !== "node10" && resolutionKind !== "node16-cjs";
    };
    expect(result.problems.filter(isOurs)).toEqual([]);
    expect(Object.keys(result.entrypoints)).toEqual([".", "./element", "./react", "./package.json"]);
  });

  it("runs in the oldest supported Node, where the element's import does nothing", async () => {
    const program = `
      const { watchOrder, longPoll } = await import("${pathToFileURL(join(folder, "dist/index.js"))}");
      const { OrderStatusElement } = await import("${pathToFileURL(join(folder, "dist/element.js"))}");
      const watch = watchOrder({ url: "http://127.0.0.1:9", orderId: "ORD-1", token: "t" });
      await new Promise((resolve) => watch.subscribe(({ connection }) => connection === "waiting" && resolve()));
      watch.close();
      console.log(watch.snapshot().connection, typeof OrderStatusElement, typeof longPoll);
    `;
    // Prefers the machine's own Node, which may be older than the workspace's.
    const path = (process.env.PATH ?? "").split(":").filter((folder) => !folder.includes("node_modules"));
    const { stdout } = await exec("node", ["--input-type=module", "--eval", program], {
      cwd: folder,
      env: { ...process.env, PATH: path.join(":"), NODE_OPTIONS: "" },
    });
    expect(stdout.trim()).toBe("closed function function");
  });
});
