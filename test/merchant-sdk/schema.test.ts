/** The client and the API docs agree: the generated types, and the methods. */
import { describe, expect, it } from "vitest";
import { generateSchema, schemaFile } from "../../merchant-sdk/build/schema.ts";
import { createTukio, type Tukio } from "../../merchant-sdk/index.ts";
import { textOf } from "../docs/markdown.ts";
import { listOperations, type OpenApiDocument } from "../support/openapi.ts";

describe("the types of the API", () => {
  it("are generated from docs/openapi.json: npm run build:types --workspace merchant-sdk", async () => {
    await expect(await generateSchema()).toMatchFileSnapshot(schemaFile.pathname);
  });
});

/** Calls each method once. */
const calls: readonly ((tukio: Tukio) => unknown)[] = [
  ({ payments }) => payments.start({ orderId: "A", amountMinor: 100, currency: "KES", provider: "daraja" }),
  ({ orders }) => orders.read("A"),
  ({ orders }) => orders.list().page(),
  ({ orders }) => orders.wait("A"),
  ({ orders }) => orders.resolve("A", { paymentId: "1", as: "failed", note: "n" }),
  ({ orders }) => orders.issueWatchToken("A"),
  ({ orders }) => orders.putResult("A", { id: "R", kind: "text", title: "t", text: "t" }),
  ({ orders }) => orders.removeResult("A", "R"),
  ({ orders }) => orders.export(),
  ({ payments }) => payments.list().page(),
  ({ payments }) => payments.export(),
  ({ payments }) => payments.ask("1"),
  ({ reports }) => reports.summary({ from: "2026-11-20" }),
  ({ webhooks }) => webhooks.list().page(),
  ({ webhooks }) => webhooks.apply(1, "1"),
  ({ paymentLinks }) => paymentLinks.create({ orderId: "INV-7", amountMinor: 100, currency: "KES" }),
  ({ paymentLinks }) => paymentLinks.list().page(),
  ({ paymentLinks }) => paymentLinks.read("1"),
  ({ paymentLinks }) => paymentLinks.cancel("1"),
  ({ plans }) =>
    plans.create({
      planId: "PHONE-7",
      kind: "instalments",
      currency: "KES",
      customer: { id: "C-1" },
      schedule: { totalMinor: 300, every: { months: 1 }, count: 3, firstDueAt: "2040-12-01T06:00:00Z" },
    }),
  ({ plans }) => plans.list().page(),
  ({ plans }) => plans.read("1"),
  ({ plans }) => plans.pause("1"),
  ({ plans }) => plans.resume("1"),
  ({ plans }) => plans.pay("1"),
  ({ plans }) => plans.cancel("1"),
  ({ events }) => events.list().page(),
  ({ endpoints }) => endpoints.create({ url: "https://shop.example.com" }),
  ({ endpoints }) => endpoints.list(),
  ({ endpoints }) => endpoints.read("1"),
  ({ endpoints }) => endpoints.change("1", {}),
  ({ endpoints }) => endpoints.delete("1"),
  ({ endpoints }) => endpoints.rotateSecret("1"),
  ({ endpoints }) => endpoints.ping("1"),
  ({ endpoints }) => endpoints.deliveries("1").page(),
  ({ endpoints }) => endpoints.replay("1", {}),
  ({ notifications }) => notifications.list(),
  ({ notifications }) => notifications.deliveries("receipt").page(),
  ({ notifications }) => notifications.replay("receipt", {}),
  ({ notifications }) => notifications.send("A", "receipt"),
  ({ notifications }) => notifications.ofOrder("A"),
  ({ notifications }) => notifications.test("receipt"),
  ({ providers }) => providers.list(),
  ({ providers }) => providers.fetchToken("daraja"),
  ({ keys }) => keys.create({ name: "a shop", scopes: ["read"] }),
  ({ keys }) => keys.list(),
  ({ keys }) => keys.revoke("1"),
  ({ keys }) => keys.audit().page(),
  ({ doctor }) => doctor(),
  ({ sandbox }) => sandbox.prompts("0712345600"),
  ({ sandbox }) => sandbox.answer("1", "approve"),
  ({ sandbox }) => sandbox.advanceClock("P1M"),
];

describe("the client", () => {
  it("has a method for every operation that a merchant's backend calls", async () => {
    const sent = new Set<string>();
    const tukio = createTukio({
      url: "http://tukio.test",
      apiKey: "key",
      retries: 0,
      async fetch({ method, url }) {
        sent.add(`${method} ${new URL(url).pathname}`);
        return new Response("{}");
      },
    });
    for (const call of calls) await Promise.resolve(call(tukio)).catch(() => undefined);
    const document = JSON.parse(textOf("docs/openapi.json")) as OpenApiDocument;
    const isForBackends = (path: string, security: readonly object[]): boolean =>
      path.startsWith("/v1/")
        ? security.some((one) => "apiKey" in one) && !/\/(events|socket)$/.test(path.replace(/^\/v1\/events$/, ""))
        : /^\/sandbox\/(phone\/|clock$)/.test(path);
    // Pictures are no JSON: a backend gets them with fetch.
    const isPicture = (path: string): boolean => /\.(svg|png)$/.test(path);
    const wanted = listOperations(document)
      .filter(({ path, security }) => isForBackends(path, security) && !isPicture(path))
      .map(({ method, path }) => `${method} ${path}`);
    const toPattern = (operation: string): RegExp => new RegExp(`^${operation.replace(/\{\w+\}/g, "[^/]+")}$`);
    expect(wanted.length).toBeGreaterThan(20);
    expect(wanted.filter((one) => ![...sent].some((call) => toPattern(one).test(call)))).toEqual([]);
  });
});
