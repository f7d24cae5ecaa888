/**
 * Every registered route, for an unauthenticated client (G12): it is within a limit, or in the list of those that are not,
 * with the reason. A request for it costs little processor time. New routes are tested too.
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

/** Routes outside the limit of an address, and why. */
const unlimited: readonly [RegExp, string][] = [
  [/^\/(livez|readyz)$/, "a supervisor restarts a node whose health check is refused"],
  [/^\/webhooks\//, "a refused webhook may be lost; budgets per payment and provider limit what is stored"],
];

const reasonOf = (url: string): string | undefined => unlimited.find(([pattern]) => pattern.test(url))?.[1];

const methods = new Set(["GET", "POST", "PUT", "PATCH", "DELETE"]);

const listRoutes = async (env: Record<string, string> = {}) => {
  const { started, routes } = await collectRoutes(() => startNode({ databaseUrl, env }));
  const own = routes.filter(({ method, url }) => methods.has(method) && url !== "*");
  if (own.length < 30) throw new Error("routes are missing");
  return { node: started, routes: own };
};

/** The URL with a value for each parameter. */
const fill = (url: string): string => url.replace(/:\w+/g, "x1").replace("*", "x1");

/** Requests that no route serves. */
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
  // A stream does not end.
  if (headers.get("content-type")?.startsWith("text/event-stream")) await body?.cancel();
  else await new Response(body).arrayBuffer();
  return status;
};

describe("a route, without a key", () => {
  it("is within a limit, or listed with a reason (G12)", async () => {
    const { node, routes } = await listRoutes({ LIMIT_IP: "1" });
    // Cheap requests have ten times the budget.
    for (let sent = 0; sent < 11; sent += 1) await call(`${node.url}/docs/docs.css`);
    for (let sent = 0; sent < 2; sent += 1) await call(`${node.url}/v1/orders`);
    const free: string[] = [];
    for (const route of [...routes, ...others.filter(({ method }) => method !== "OPTIONS")]) {
      const status = await ask(node.url, route);
      if (status !== 429) free.push(route.url);
    }
    expect(free.filter((url) => reasonOf(url) === undefined)).toEqual([]);
    // Each reason must still be in use.
    for (const [pattern] of unlimited) expect(free.some((url) => pattern.test(url))).toBe(true);
  });

  it("costs at most twelve times as much as the cheapest one (G12)", async () => {
    const { routes } = await listRoutes();
    const limits = { LIMIT_IP: "100000000", LIMIT_PHONE: "100000", LIMIT_ORDER: "100000" };
    const node = await startProcess({ DATABASE_URL: databaseUrl, LOG_LEVEL: "info", ...limits });
    onTestFinished(node.close);
    const cpuMs = async (): Promise<number> =>
      ((await scrape(node)).value("process_cpu_seconds_total") ?? Number.NaN) * 1_000;
    /** Processor time of the process, per request. */
    const costOf = async (route: RegisteredRoute): Promise<number> => {
      const requests = 40;
      await ask(node.url, route);
      const before = await cpuMs();
      for (let sent = 0; sent < requests; sent += 1) await ask(node.url, route);
      return ((await cpuMs()) - before) / requests;
    };
    const cheapest: RegisteredRoute = { method: "GET", url: "/livez" };
    await costOf(cheapest);
    const unit = Math.max(0.25, await costOf(cheapest));
    const expensive: string[] = [];
    for (const route of [...routes, ...others]) {
      // Retried because background work of the process counts too.
      let cost = await costOf(route);
      for (let tries = 1; tries < 3 && cost > 12 * unit; tries += 1) cost = Math.min(cost, await costOf(route));
      if (cost > 12 * unit) expensive.push(`${route.method} ${route.url.slice(0, 80)}: ${(cost / unit).toFixed(1)}`);
    }
    expect(expensive).toEqual([]);
  }, 300_000);
});
