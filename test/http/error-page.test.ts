/** The answer to a failed request: a page for a browser that opens an address, and problem+json for everyone else. */
import type { FastifyInstance } from "fastify";
import { describe, expect, it, onTestFinished } from "vitest";
import { readConfig } from "../../server/config/config.ts";
import { HubError } from "../../server/errors.ts";
import { openHttp } from "../../server/http/server.ts";
import { createLogger } from "../../server/log.ts";

async function open(): Promise<FastifyInstance> {
  const { app, close } = await openHttp({
    config: readConfig({}),
    log: createLogger("silent"),
    isAllowedOrigin: () => true,
    onError: (error) => {
      throw error;
    },
  });
  onTestFinished(close);
  app.post("/things", async () => "");
  app.get("/things/:id", async () => "");
  app.post("/webhooks/x", { config: { secure: false } }, async () => {
    throw new HubError("webhook_rejected");
  });
  app.get("/broken", async () => {
    throw new Error("the password is hunter2");
  });
  app.get("/busy", async () => {
    throw new HubError("rate_limited", undefined, { retryAfterS: 7 });
  });
  return app;
}

/** The `Accept` of Chrome, Firefox and Safari when they open an address. */
const browser = {
  accept: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "sec-fetch-mode": "navigate",
};

describe("a browser that opens an address", () => {
  it.each([
    ["GET", "/nowhere", 404, "Page not found"],
    ["GET", "/things", 405, "This address is not a page"],
    ["POST", "/things/1", 405, "This address is not a page"],
    ["GET", "/things/%zz", 400, "Page cannot be shown"],
    ["GET", "/broken", 500, "Please try again"],
    ["GET", "/busy", 429, "Please try again"],
  ] as const)("gets a page for %s %s", async (method, url, status, title) => {
    const app = await open();
    const answer = await app.inject({ method, url, headers: browser });
    expect(answer.statusCode).toBe(status);
    expect(answer.headers["content-type"]).toBe("text/html; charset=utf-8");
    expect(answer.body).toContain(`<h1>${title}</h1>`);
    expect(answer.body).not.toMatch(/hunter2|<script|href="(?!data:image\/svg)|src=|%zz/);
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(String(answer.headers.vary).split(", ")).toContain("Accept");
    expect(answer.body).toContain('<link rel="icon" href="data:image/svg+xml,');
    expect(answer.headers["content-security-policy"]).toMatch(
      /^default-src 'none'; style-src 'sha256-[\w+/]+=*'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
    );
    expect(answer.headers["retry-after"]).toBe(url === "/busy" ? "7" : undefined);
    expect("allow" in answer.headers).toBe(status === 405);
    // For the payer to quote; the log has it too. No hook runs for a path that cannot be read.
    if (status !== 400) expect(answer.body).toContain(String(answer.headers["x-request-id"]));
  });

  it.each([
    ["sw-KE,sw;q=0.9,en;q=0.8", "sw", "Ukurasa haupatikani"],
    ["bn", "bn", "পাতাটি পাওয়া যায়নি"],
    ["fr,bn-BD;q=0.5,en;q=0.7", "en", "Page not found"],
    ["fr", "en", "Page not found"],
    ["sw;q=0", "en", "Page not found"],
    ["swa, bnx", "en", "Page not found"],
    ["", "en", "Page not found"],
  ])("gets it in the language that it prefers: %s", async (acceptLanguage, language, title) => {
    const app = await open();
    const answer = await app.inject({ url: "/nowhere", headers: { ...browser, "accept-language": acceptLanguage } });
    expect(answer.headers["content-language"]).toBe(language);
    expect(answer.body).toContain(`<html lang="${language}">`);
    expect(answer.body).toContain(title);
  });

  it("cannot put its own text into the page", async () => {
    const app = await open();
    const headers = { ...browser, "x-request-id": "<b>", "accept-language": "<i>" };
    const { body } = await app.inject({ url: "/<u>?<s>", headers });
    expect(body).not.toMatch(/<[bius]>/);
  });

  it("is sent on to the path without a slash at its end, if there is one", async () => {
    const app = await open();
    const answer = await app.inject({ url: "/things/1/?a=1&b=%2F", headers: browser });
    expect(answer.statusCode).toBe(307);
    expect(answer.headers.location).toBe("../1?a=1&b=%2F");
    expect((await app.inject({ url: "//evil.example/", headers: browser })).statusCode).toBe(404);
    expect((await app.inject({ url: "/nowhere/", headers: browser })).statusCode).toBe(404);
  });
});

describe("every other client", () => {
  it.each<[string, Record<string, string>]>([
    ["without Accept", {}],
    ["that accepts everything", { accept: "*/*" }],
    ["that accepts JSON", { accept: "application/json, text/plain, */*" }],
    ["that accepts pages and JSON alike", { accept: "text/html, application/json" }],
    ["that prefers problems", { accept: "text/html;q=0.5, application/problem+json" }],
    ["that prefers everything to pages", { accept: "*/*;q=0.8,text/html;q=0.1" }],
    ["that prefers any application data", { accept: "text/html;q=0.9, application/*" }],
    ["that refuses pages", { accept: "text/html;q=0, */*" }],
    ["in Java, by default", { accept: "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2" }],
    ["with a credential", { ...browser, authorization: "Bearer x" }],
    ["that calls from a page", { ...browser, "sec-fetch-mode": "cors" }],
    ["that sends JSON", { ...browser, "content-type": "application/json" }],
  ])("gets problem+json: one %s", async (_what, headers) => {
    const app = await open();
    for (const url of ["/nowhere", "/things"]) {
      const answer = await app.inject({ url, headers });
      expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
      expect(answer.headers["cache-control"]).toBe("no-store");
      expect(String(answer.headers.vary).split(", ")).toContain("Accept");
      expect(answer.json()).toMatchObject({ status: url === "/things" ? 405 : 404 });
    }
  });

  it("gets problem+json from a route for programs, whatever it accepts", async () => {
    const app = await open();
    const answer = await app.inject({ method: "POST", url: "/webhooks/x", headers: { accept: "text/html" } });
    expect(answer.json()).toMatchObject({ code: "webhook_rejected" });
  });

  it("is told about a slash at the end of a path", async () => {
    const app = await open();
    const { detail } = (await app.inject({ url: "/things/1/" })).json();
    expect(detail).toBe("There is no route at this URL. Remove the slash at its end, or add the id that is missing");
    expect((await app.inject({ url: "/nowhere/" })).json().detail).toBe("There is no route at this URL");
  });
});
