/** The desk's page and files, as a browser loads them, at the root of a host and under a proxy's path. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import Fastify, { type FastifyInstance } from "fastify";
import { describe, expect, it, onTestFinished } from "vitest";
import { handleErrors } from "../../server/http/problem.ts";
import { deskRoutes } from "../../server/route/desk.ts";

/** A folder as the build writes it, with a file beside it that nobody may read. */
async function build(): Promise<URL> {
  const parent = mkdtempSync(join(tmpdir(), "tukio-desk-"));
  onTestFinished(() => rm(parent, { recursive: true, force: true }));
  const folder = join(parent, "dist");
  await mkdir(join(folder, "assets"), { recursive: true });
  writeFileSync(join(parent, "secret.js"), "secret");
  writeFileSync(join(folder, "assets/index-abc.js"), "export const desk = 1;");
  writeFileSync(join(folder, "assets/index-abc.css"), "main { color: red }");
  const html =
    '<html><head><title>Desk</title><script type="module" src="./assets/index-abc.js"></script></head></html>';
  writeFileSync(join(folder, "index.html"), html);
  return pathToFileURL(`${folder}/`);
}

async function open(folder?: URL): Promise<FastifyInstance> {
  const app = Fastify();
  handleErrors(app);
  deskRoutes(app, { folder: folder ?? (await build()) });
  onTestFinished(() => app.close());
  return app;
}

/** The script's address, as the browser resolves it from the page's. */
const scriptOf = (page: string, address: string): string =>
  new URL(/src="([^"]+)"/.exec(page)?.[1] ?? "none", address).href;

describe("the desk", () => {
  it("is the same page at every address, and finds its files under any path", async () => {
    const app = await open();
    for (const path of ["/desk", "/desk/", "/desk/orders", "/desk/orders/ORD%2F1", "/desk/orders/a?status=failed"]) {
      const { statusCode, body } = await app.inject({ url: path });
      expect(statusCode).toBe(200);
      for (const root of ["https://pay.example", "https://shop.example/pay/tukio"])
        expect(scriptOf(body, root + path)).toBe(`${root}/desk/assets/index-abc.js`);
    }
  });

  it("is kept by nobody, framed by nobody, and runs its own files only", async () => {
    const app = await open();
    const [one, other] = [await app.inject({ url: "/desk" }), await app.inject({ url: "/desk" })];
    expect(one.headers).toMatchObject({
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-robots-tag": "noindex",
    });
    const policyOf = ({ headers }: typeof one): string => String(headers["content-security-policy"]);
    const nonce = /<meta property="csp-nonce" nonce="([\w-]{22})">/.exec(one.body)?.[1];
    expect(policyOf(one).split("; ")).toEqual([
      "default-src 'none'",
      "script-src 'self'",
      `style-src 'self' 'nonce-${nonce}'`,
      "img-src 'self' data:",
      "connect-src 'self'",
      "form-action 'none'",
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ]);
    expect(policyOf(other)).not.toBe(policyOf(one));
  });

  it("has files that a browser keeps, because their names change with the content", async () => {
    const app = await open();
    const script = await app.inject({ url: "/desk/assets/index-abc.js" });
    expect(script.headers).toMatchObject({
      "cache-control": "public, max-age=31536000, immutable",
      "content-type": "text/javascript; charset=utf-8",
    });
    const icon = await app.inject({ url: "/desk/assets/icon.svg" });
    expect(icon.headers).toMatchObject({ "cache-control": "no-cache", "content-type": "image/svg+xml" });
  });

  it("serves no other file, whatever the path", async () => {
    const app = await open();
    const paths = ["..%2f..%2fsecret.js", "..%2findex.html", "%2e%2e%2f%2e%2e%2fsecret.js", "other.js", "constructor"];
    for (const path of paths) {
      const { statusCode, body } = await app.inject({ url: `/desk/assets/${path}` });
      expect({ path, statusCode }).toEqual({ path, statusCode: 404 });
      expect(body).not.toContain("secret;");
    }
  });

  it("has no address that is longer than any of its own", async () => {
    const app = await open();
    const { statusCode } = await app.inject({ url: `/desk${"/a".repeat(2_000)}` });
    expect(statusCode).toBe(404);
  });

  it("says how to build it while it is not built, and appears without a restart", async () => {
    const folder = await build();
    const app = await open(new URL("later/", folder));
    const { statusCode, body } = await app.inject({ url: "/desk" });
    expect(statusCode).toBe(404);
    expect(JSON.parse(body).detail).toContain("npm run build:desk");
    await mkdir(new URL("later/assets/", folder), { recursive: true });
    writeFileSync(new URL("later/index.html", folder), "<html><head></head></html>");
    expect((await app.inject({ url: "/desk" })).statusCode).toBe(200);
  });
});
