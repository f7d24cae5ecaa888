/**
 * Every route that a node registers, today's and future ones, as somebody without a key meets it: it is within a limit, or
 * it is on the list of those that are not, with the reason; and a request for it costs little of the processor.
 */
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { createDatabase } from "../support/database.ts";
import { call, startNode } from "../support/node.ts";
import { startProcess } from "../support/process.ts";
import { collectRoutes, type RegisteredRoute } from "../support/routes.ts";
import { scrape } from "../support/scrape.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/** Outside the limit of an address, and why. */
const unlimited: readonly [RegExp, string][] = [
  [/^\/(livez|readyz)$/, "a supervisor whose question is refused kills the node"],
  [/^\/webhooks\//, "money is told of there: budgets per payment and provider bound what is kept"],
];

const reasonOf = (url: string): string | undefined => unlimited.find(([pattern]) => pattern.test(url))?.[1];

const methods = new Set(["GET", "POST", "PUT", "PATCH", "DELETE"]);

const listRoutes = async (env: Record<string, string> = {}) => {
  const { started, routes } = await collectRoutes(() => startNode({ databaseUrl, env }));
  const own = routes.filter(({ method, url }) => methods.has(method) && url !== "*");
  if (own.length < 30) throw new Error("routes are missing");
  return { node: started, routes: own };
};

/** Something that fits each parameter. */
const fill = (url: string): string => url.replace(/:\w+/g, "x1").replace("*", "x1");

/** What no route is for, and costs the node something too. */
const others: readonly RegisteredRoute[] = [
  { method: "GET", url: "/nowhere" },
  { method: "GET", url: `/${"%/".repeat(7_500)}` },
  { method: "GET", url: `/${"%41/".repeat(3_500)}` },
  { method: "POST", url: "/v1/orders" },
  { method: "OPTIONS", url: "/v1/orders" },
  { method: "GET", url: "/socket.io/?EIO=4&transport=polling" },
  { method: "PUT", url: "/socket.io/?EIO=4&transport=polling" },
];

const ask = async (base: string, { method, url }: RegisteredRoute): Promise<number> => {
  const isPost = method !== "GET" && method !== "DELETE";
  const { status, headers, body } = await fetch(base + fill(url), {
    method,
    ...(isPost && { headers: { "content-type": "application/json" }, body: "{}" }),
  });
  // A stream has no end.
  if (headers.get("content-type")?.startsWith("text/event-stream")) await body?.cancel();
  else await new Response(body).arrayBuffer();
  return status;
};

describe("without a key", () => {
  it("every route is within a limit, or says why not", async () => {
    const { node, routes } = await listRoutes({ LIMIT_IP: "1" });
    // Ten files to one other request.
    for (let asked = 0; asked < 11; asked += 1) await call(`${node.url}/docs/docs.css`);
    for (let asked = 0; asked < 2; asked += 1) await call(`${node.url}/v1/orders`);
    const free: string[] = [];
    for (const route of [...routes, ...others.filter(({ method }) => method !== "OPTIONS")]) {
      const status = await ask(node.url, route);
      if (status !== 429) free.push(route.url);
    }
    expect(free.filter((url) => reasonOf(url) === undefined)).toEqual([]);
    // A reason for what is no more is misleading.
    for (const [pattern] of unlimited) expect(free.some((url) => pattern.test(url))).toBe(true);
  });

  it("no request costs more than some times what the plainest one costs", async () => {
    const { routes } = await listRoutes();
    const limits = { LIMIT_IP: "100000000", LIMIT_PHONE: "100000", LIMIT_ORDER: "100000" };
    const node = await startProcess({ DATABASE_URL: databaseUrl, LOG_LEVEL: "info", ...limits });
    onTestFinished(node.close);
    const cpuMs = async (): Promise<number> =>
      ((await scrape(node)).value("process_cpu_seconds_total") ?? Number.NaN) * 1_000;
    /** Of the process in all, for each request. */
    const costOf = async (route: RegisteredRoute): Promise<number> => {
      const requests = 40;
      await ask(node.url, route);
      const before = await cpuMs();
      for (let asked = 0; asked < requests; asked += 1) await ask(node.url, route);
      return ((await cpuMs()) - before) / requests;
    };
    const plainest: RegisteredRoute = { method: "GET", url: "/livez" };
    await costOf(plainest);
    const unit = Math.max(0.25, await costOf(plainest));
    const dear: string[] = [];
    for (const route of [...routes, ...others]) {
      // What else the process does at the time counts too, so a dear one is tried again.
      let cost = await costOf(route);
      for (let tries = 1; tries < 3 && cost > 12 * unit; tries += 1) cost = Math.min(cost, await costOf(route));
      if (cost > 12 * unit) dear.push(`${route.method} ${route.url.slice(0, 80)}: ${(cost / unit).toFixed(1)}`);
    }
    expect(dear).toEqual([]);
  }, 300_000);
});
