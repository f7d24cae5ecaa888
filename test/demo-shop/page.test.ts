/** The files of the shop and of the payer's phone, and the policies that they are served with. */
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDatabase } from "../support/database.ts";
import { apiKey, call, startNode, type TestNode, testSecret } from "../support/node.ts";

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

/** The absolute addresses that one of our documents or scripts refers to. */
const addressesIn = (text: string, at: string): string[] =>
  [...text.matchAll(at.endsWith(".js") ? /^import .* from "(.*)"/gm : /\s(?:src|href)="([^"#][^"]*)"/g)]
    .map(([, address = ""]) => address)
    .filter((address) => !address.startsWith("data:"))
    .map((address) => new URL(address, at).href);

/** Loads a page and all its files, by address. */
async function load(path: string): Promise<Map<string, { response: Response; text: string }>> {
  const found = new Map<string, { response: Response; text: string }>();
  const visit = async (address: string): Promise<void> => {
    if (found.has(address)) return;
    const response = await fetch(address);
    const text = await response.text();
    found.set(address, { response, text });
    const isOurs = address === node.url + path || (address.endsWith(".js") && !address.includes("/sdk/"));
    if (!isOurs) return;
    for (const next of addressesIn(text, address)) await visit(next);
  };
  await visit(node.url + path);
  return found;
}

describe.each([
  ["/", "frame-ancestors 'none'"],
  ["/sandbox/phone", "frame-ancestors 'self'"],
])("page at %s", (path, ancestors) => {
  it("has nothing inline and loads every file from this node", async () => {
    const files = await load(path);
    expect(files.size).toBeGreaterThan(2);
    const html = files.get(node.url + path)?.text ?? "";
    expect(html).not.toMatch(/<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=/i);
    for (const [address, { response }] of files) {
      expect(new URL(address).origin).toBe(node.url);
      expect(response.status, address).toBe(200);
    }
  });

  it("allows only its own scripts", async () => {
    const { headers } = await fetch(node.url + path);
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain(ancestors);
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(headers.get("referrer-policy")).toBe("no-referrer");
  });

  it("contains neither the API key nor a secret", async () => {
    for (const [address, { text }] of await load(path)) {
      expect(text, address).not.toContain(apiKey);
      expect(text, address).not.toContain(testSecret);
    }
  });

  it("is not sent again to a client that has it", async () => {
    const etag = (await fetch(node.url + path)).headers.get("etag") ?? "";
    const again = await fetch(node.url + path, { headers: { "if-none-match": etag } });
    expect({ status: again.status, text: await again.text() }).toEqual({ status: 304, text: "" });
  });
});

describe("page of the shop", () => {
  it("names the product, has an icon, and links to the docs and the code", async () => {
    const html = await (await fetch(node.url)).text();
    expect(html).toContain("<title>Tukio Demo Shop</title>");
    const links = addressesIn(html, `${node.url}/`).map((address) => address.slice(node.url.length));
    for (const path of [
      "/shop/icon.svg",
      "/shop/icon.png",
      "/docs",
      "/openapi.json",
      "/asyncapi.json",
      "/sdk/tukio.js",
    ]) {
      expect(links).toContain(path);
      expect((await fetch(node.url + path)).status).toBe(200);
    }
    expect((await fetch(`${node.url}/shop/icon.svg`)).headers.get("content-type")).toBe("image/svg+xml");
  });
});

describe("shop route", () => {
  it("answers without the API key or a secret", async () => {
    const headers = { "content-type": "application/json", "sec-fetch-site": "same-origin" };
    const body = JSON.stringify({ item: "tea", provider: "daraja", phone: "0712345600" });
    const started = await call(`${node.url}/shop/payments`, { method: "POST", headers, body });
    const answers = [
      started,
      await call(`${node.url}/shop/catalogue`),
      await call(`${node.url}/shop/clock`),
      await call(`${node.url}/shop/orders/${started.body.order.orderId}/sources`),
      await call(`${node.url}/shop/orders/${started.body.order.orderId}/messages`),
    ];
    for (const answer of answers) {
      expect(answer.status).toBeLessThan(300);
      expect(JSON.stringify([answer.body, [...answer.headers]])).not.toMatch(new RegExp(`${apiKey}|${testSecret}`));
    }
  });

  it("serves no other file", async () => {
    for (const file of ["index.html", "..%2fshop.ts", "constructor", "nothing.js"]) {
      const { status, body } = await call(`${node.url}/shop/${file}`);
      expect({ file, status, code: body.code }).toEqual({ file, status: 404, code: "route_unknown" });
    }
  });
});
