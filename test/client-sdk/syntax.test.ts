/** Every script that a payer's browser loads from the server parses in the oldest supported browsers. */
import { glob, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { bundle } from "../../client-sdk/build/bundle.ts";
import { writePackage } from "../../client-sdk/build/package.ts";
import { newSyntax } from "../support/syntax.ts";

const root = join(import.meta.dirname, "../..");

/** The files below `server/` with this extension: only pages have them. */
async function pageFiles(extension: string): Promise<[name: string, text: string][]> {
  const files: [string, string][] = [];
  for await (const name of glob(`server/**/*.${extension}`, { cwd: root })) {
    files.push([name, await readFile(join(root, name), "utf8")]);
  }
  return files;
}

describe("new syntax", () => {
  it.each([
    ["a ??= b", "logical assignment"],
    ["f(1_000)", "numeric separator"],
    ["class A { b }", "class field"],
    ["class A { #b() {} }", "private name"],
    ["class A { static {} }", "static block"],
    ["f(/a/v)", "regular expression"],
    ["f(/(?<=a)b/)", "lookbehind or modifiers"],
    ["export * as a from 'b'", "export * as"],
    ["import a from 'b' with { type: 'json' }", "import attributes"],
    ["await a", "top-level await"],
  ])("is found: %s", (code, name) => {
    expect(newSyntax(code)).toContain(name);
  });

  it("is not what ES2020 has", () => {
    const code = `import a from "b"; export const c = async () => { for await (const d of a?.e ?? 1n) await import("f"); };
      class G { static get h() { try { return /(?<i>j)/s } catch { return import.meta.url } } }`;
    expect(newSyntax(code)).toEqual([]);
  });
});

describe("style", () => {
  it("of the element has no CSS that changes the layout where the oldest browsers drop it", async () => {
    const code = (await bundle("element.ts")).map((file) => file.code).join();
    expect(code).toContain(".card{");
    for (const late of [
      /:(is|where|has|not\([^)]*,)\(?/,
      /[;{](row-|column-)?gap:/,
      /[;{]inset/,
      /color-mix|light-dark/,
      /@(layer|container|scope)/,
    ])
      expect(code.match(late)).toBeNull();
  });
});

describe("script", () => {
  it("of the SDK, with all its chunks, has no syntax after ES2020", async () => {
    const files = await bundle();
    expect(files.length).toBeGreaterThan(3);
    for (const { name, code } of files) expect([name, newSyntax(code)]).toEqual([name, []]);
  });

  it("of the package has no syntax after ES2020, because a bundler may pass it on as it is", async () => {
    const folder = await mkdtemp(join(root, "client-sdk/.test-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writePackage(folder);
    const names: string[] = [];
    for await (const name of glob("**/*.js", { cwd: folder })) names.push(name);
    expect(names).toEqual(expect.arrayContaining(["element.js", "transport/longpoll.js", "cjs/link.js"]));
    for (const name of names) expect([name, newSyntax(await readFile(join(folder, name), "utf8"))]).toEqual([name, []]);
  });

  it("of a page has no syntax after ES2020", async () => {
    const files = await pageFiles("js");
    expect(files.map(([name]) => name)).toEqual(
      expect.arrayContaining([
        "server/demo-shop/page/shop.js",
        "server/payment-link/page/pay-form.js",
        "server/sandbox/page/phone.js",
      ]),
    );
    for (const [name, code] of files) expect([name, newSyntax(code)]).toEqual([name, []]);
  });

  it("is never inline in a page, so that the files above are all", async () => {
    for (const [name, html] of await pageFiles("html")) {
      const inline = html.match(/<script\b(?![^>]*\bsrc=)[^>]*>/g);
      expect([name, inline]).toEqual([name, null]);
    }
  });
});
