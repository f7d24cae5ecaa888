/** `/docs` needs no other server: this process serves every file that a browser loads under its policy. */
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDatabase } from "../support/database.ts";
import { call, startNode, type TestNode } from "../support/node.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let node: TestNode;
beforeEach(async () => {
  node = await startNode({ databaseUrl });
});

const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(new URL(path, `${node.url}/docs`), { headers });

describe("the API docs page", () => {
  it("has no inline code and no files of other servers, and each of its files exists", async () => {
    const page = await get("docs");
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const html = await page.text();
    expect(html).not.toMatch(/<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=/i);
    const addresses = [...html.matchAll(/\s(?:src|href)="([^"]+)"/g)].map(([, address = ""]) => address);
    const local = addresses.filter((address) => !address.startsWith("data:"));
    expect(local).toEqual(expect.arrayContaining(["openapi.json", "asyncapi.json"]));
    for (const address of local) {
      expect(address).not.toMatch(/^\w+:|^\/\//);
      expect((await get(address)).status, address).toBe(200);
    }
  });

  it("has a strict policy, with an exception for images in its stylesheet only", async () => {
    const policy = (await get("docs")).headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'self'; img-src 'self' data:;");
    expect(policy).not.toMatch(/unsafe|https?:|\*|script-src|style-src/);
  });

  it("is sent compressed to clients that accept it, and plain to others", async () => {
    for (const encoding of ["gzip", "identity"]) {
      const response = await get("docs/swagger-ui-bundle.js", { "accept-encoding": encoding });
      expect(response.headers.get("content-encoding")).toBe(encoding === "gzip" ? "gzip" : null);
      expect(response.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
      expect(await response.text()).toContain("SwaggerUIBundle");
    }
  });

  it("shows documents that are built once, sent compressed, and revalidated", async () => {
    for (const path of ["openapi.json", "asyncapi.json"]) {
      const whole = await get(path, { "accept-encoding": "identity" });
      expect(whole.headers.get("content-type")).toBe("application/json; charset=utf-8");
      const zipped = await get(path, { "accept-encoding": "gzip" });
      expect(zipped.headers.get("content-encoding")).toBe("gzip");
      expect(await zipped.json()).toEqual(await whole.json());
      const etag = whole.headers.get("etag") ?? "";
      expect((await get(path, { "if-none-match": etag })).status, `${path} ${etag}`).toBe(304);
    }
  });

  it("serves no other files", async () => {
    for (const file of ["nothing.js", "index.html", "..%2fpage.ts", "constructor"]) {
      const { status, body } = await call(`${node.url}/docs/${file}`);
      expect({ file, status, code: body.code }).toEqual({ file, status: 404, code: "route_unknown" });
    }
  });
});
