/** The published package: its size, its exports, and the platforms that it supports. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { beforeAll, describe, expect, it } from "vitest";
import { type BundledFile, bundle, writeBundle } from "../../client-sdk/build/bundle.ts";
import { readBrowserFiles } from "../../client-sdk/build/served.ts";
import { machinePath, packSdk, type SdkPackage } from "../support/sdk-package.ts";

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
  it("is at most 5.15 kB for the core, with every transport but without the Socket.IO client", async () => {
    expect(gzipBytes(await entryOf("index.ts"))).toBeLessThanOrEqual(5_150);
  });

  it("is at most 12.95 kB for the element, in English and with the long poll", async () => {
    expect(gzipBytes(await entryOf("element.ts"))).toBeLessThanOrEqual(12_950);
  });
});

describe("browser bundle", () => {
  it("keeps the Socket.IO client, the other languages, results and QR codes out of tukio.js", async () => {
    const files = await bundle();
    const [entry, ...chunks] = files;
    expect(entry?.name).toBe("tukio.js");
    expect(entry?.code).not.toContain("EIO");
    expect(chunks.filter(({ code }) => code.includes("EIO"))).toHaveLength(1);
    expect(chunks.map(({ name }) => name.replace(/-[\w-]{8}\.js$/, "")).sort()).toEqual([
      "hint",
      "other-transport",
      "qr",
      "result-view",
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
  let sdk: SdkPackage;
  beforeAll(async () => {
    sdk = await packSdk();
    return sdk.remove;
  });

  it("satisfies publint", async () => {
    const { messages } = await publint({ pkgDir: sdk.folder, strict: true });
    expect(messages).toEqual([]);
  });

  it("has correct types for an import and for a require", async () => {
    const result = await checkPackage(createPackageFromTarballData(await readFile(sdk.tarball)));
    if (!result.types) throw new Error("the package has no types");
    // TypeScript's `node10` resolution reads no `exports`, so it finds the main entry only.
    const isOurs = (problem: { kind: string; entrypoint?: string; resolutionKind?: string }): boolean =>
      problem.resolutionKind !== "node10" || problem.entrypoint === ".";
    expect(result.problems.filter(isOurs)).toEqual([]);
    expect(Object.keys(result.entrypoints)).toEqual([".", "./element", "./react", "./package.json"]);
  });

  it("marks the element and the hook as client modules for React's server components, and nothing else", async () => {
    const directive = /^"use client"; ("use strict"|\/\*\*)/;
    for (const folder of ["dist", "dist/cjs"]) {
      const textOf = (name: string) => readFile(join(sdk.folder, folder, name), "utf8");
      for (const name of ["element.js", "react.js"]) expect(await textOf(name), name).toMatch(directive);
      expect(await textOf("index.js")).not.toContain("use client");
    }
  });

  const use = `
    const watch = watchOrder({ url: "http://127.0.0.1:9", orderId: "ORD-1", token: "t" });
    new Promise((resolve) => watch.subscribe(({ connection }) => connection === "waiting" && resolve())).then(() => {
      watch.close();
      // React 19 sets a property only if the element has it.
      console.log(watch.snapshot().connection, "refreshToken" in OrderStatusElement.prototype, typeof useOrderStatus);
    });
  `;

  it.each([
    [
      "an ES module",
      "module",
      `import { watchOrder } from "@tukio/client";
       import { OrderStatusElement } from "@tukio/client/element";
       import { useOrderStatus } from "@tukio/client/react";`,
    ],
    [
      "a CommonJS module",
      "commonjs",
      `const { watchOrder } = require("@tukio/client");
       const { OrderStatusElement } = require("@tukio/client/element");
       const { useOrderStatus } = require("@tukio/client/react");`,
    ],
  ])(
    "runs in the oldest supported Node as %s, where the element's import does nothing",
    async (_name, type, imports) => {
      const { stdout } = await exec("node", [`--input-type=${type}`, "--eval", imports + use], {
        cwd: sdk.folder,
        env: { ...process.env, PATH: machinePath, NODE_OPTIONS: "" },
      });
      expect(stdout.trim()).toBe("closed true function");
    },
  );
});
