/** The SDK's browser files, as a page of any origin loads them. */
import { createHash } from "node:crypto";
import Fastify, { type FastifyInstance } from "fastify";
import { describe, expect, it, onTestFinished } from "vitest";
import type { ServedFile } from "../../client-sdk/build/served.ts";
import { handleErrors } from "../../server/http/problem.ts";
import { sdkRoutes } from "../../server/route/sdk.ts";

const hashOf = (body: Buffer): string => `sha384-${createHash("sha384").update(body).digest("base64")}`;

const served = (
  text: string,
  { immutable = false, contentType = "text/javascript; charset=utf-8" } = {},
): ServedFile => {
  const body = Buffer.from(text);
  return { body, contentType, integrity: hashOf(body), immutable };
};

const files = new Map([
  ["tukio.js", served("export const version = 1;")],
  ["link-abc123.js", served("export const link = 1;", { immutable: true })],
  ["tukio.js.map", served("{}", { contentType: "application/json; charset=utf-8" })],
]);

function open(readFiles: () => Promise<Map<string, ServedFile>>): FastifyInstance {
  const app = Fastify();
  handleErrors(app);
  sdkRoutes(app, { readFiles });
  onTestFinished(() => app.close());
  return app;
}

describe("the SDK's files", () => {
  it("are open to every origin, with a cache time that fits each name", async () => {
    const app = open(async () => files);
    for (const [name, file] of files) {
      const { statusCode, headers, rawPayload } = await app.inject({ url: `/sdk/${name}` });
      expect(statusCode).toBe(200);
      expect(headers["content-type"]).toBe(file.contentType);
      expect(headers["access-control-allow-origin"]).toBe("*");
      expect(headers["cache-control"]).toContain(file.immutable ? "immutable" : "no-cache");
      expect(rawPayload).toEqual(file.body);
    }
  });

  it("are revalidated, compressed or not, and sent again only if they changed", async () => {
    const app = open(async () => files);
    for (const encoding of ["gzip", "identity"]) {
      const ask = (etag = "") =>
        app.inject({ url: "/sdk/tukio.js", headers: { "accept-encoding": encoding, "if-none-match": etag } });
      const first = await ask();
      expect(first.headers.vary).toContain("Accept-Encoding");
      const again = await ask(String(first.headers.etag));
      // Without this header a browser would not give the page its cached file.
      expect([again.statusCode, again.payload, again.headers["access-control-allow-origin"]]).toEqual([304, "", "*"]);
      expect((await ask('W/"older"')).statusCode).toBe(200);
    }
  });

  it("have hashes for `integrity=`", async () => {
    const { headers, body } = await open(async () => files).inject({ url: "/sdk/integrity.json" });
    expect(headers["access-control-allow-origin"]).toBe("*");
    const hashes = JSON.parse(body);
    expect(Object.keys(hashes)).toEqual(["tukio.js", "link-abc123.js"]);
    expect(hashes["tukio.js"]).toBe(hashOf(Buffer.from("export const version = 1;")));
  });

  it("answer a problem for an unknown name", async () => {
    const { statusCode, body } = await open(async () => files).inject({ url: "/sdk/other.js" });
    expect(statusCode).toBe(404);
    expect(JSON.parse(body)).toMatchObject({ code: "route_unknown" });
  });

  it("answer a problem that names the build command until they are built", async () => {
    let isBuilt = false;
    const app = open(async () => {
      if (!isBuilt) throw new Error("no such folder");
      return files;
    });
    for (const url of ["/sdk/tukio.js", "/sdk/integrity.json"]) {
      const { statusCode, headers, body } = await app.inject({ url });
      expect(statusCode).toBe(404);
      expect(headers["content-type"]).toContain("application/problem+json");
      expect(JSON.parse(body)).toMatchObject({
        code: "route_unknown",
        detail: expect.stringContaining("npm run build:sdk"),
      });
    }
    isBuilt = true;
    expect((await app.inject({ url: "/sdk/tukio.js" })).statusCode).toBe(200);
  });
});
