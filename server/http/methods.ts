/**
 * Collects the methods of each path as routes are registered, and answers for all routes: an unsupported method with 405,
 * and a plain OPTIONS with 204, both with `Allow`. No route does so itself.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from "fastify";
import findMyWay, { type HTTPMethod } from "find-my-way";
import { HubError } from "../errors.ts";
import { sendProblem } from "./problem.ts";

/** 16,384 because Node reads no longer URL: each route validates its own parameters. */
export const routerOptions = { maxParamLength: 16_384 };

/** 12 because no route has more. */
const segmentsMax = 12;

/** The methods of one path. */
export interface Allowed {
  /** The value of `Allow`. */
  allow: string;
  /** Whether pages of other origins may call it at all. */
  hasCors: boolean;
}

export interface Methods {
  /** The methods of a URL's path. Undefined when no route has the path. */
  of(url: string): Allowed | undefined;
  /** The names of the path parameters that are not valid percent-encoded UTF-8. */
  unreadable(url: string): string[];
  /** Collects the routes that are registered after this call. */
  collect(app: FastifyInstance): void;
}

/** Keeps the route and reads its `config` later, because hooks of a scope may change that until the server is ready. */
type Route = Pick<RouteOptions, "url" | "config">;

export function createMethods(): Methods {
  const router = findMyWay(routerOptions);
  const known = new Set<HTTPMethod>();

  const routesAt = (url: string): { method: HTTPMethod; route: Route }[] =>
    [...known].flatMap((method) => {
      const found = router.find(method, url);
      return found ? [{ method, route: found.store as Route }] : [];
    });

  return {
    of(url) {
      const found = routesAt(url);
      if (found.length === 0) return undefined;
      return {
        allow: [...found.map(({ method }) => method), "OPTIONS"].join(", "),
        hasCors: found.every(({ route }) => route.config?.cors !== false),
      };
    },

    unreadable(url) {
      const parts = (url.split(/[?#]/, 1)[0] ?? "").split("/", segmentsMax + 1);
      // Stop here, because decoding costs and no route has this many segments.
      if (parts.length > segmentsMax) return [];
      const [found] = routesAt(parts.map((part) => (isEncoded(part) ? part : "x")).join("/"));
      const names = found?.route.url.split("/") ?? [];
      return names.flatMap((name, index) =>
        name.startsWith(":") && !isEncoded(parts[index] ?? "") ? [name.slice(1)] : [],
      );
    },

    collect(app) {
      app.addHook("onRoute", (route) => {
        const { method, url } = route;
        // The CORS plugin's route for preflights of every path.
        if (url === "*") return;
        for (const one of [method].flat() as HTTPMethod[]) {
          known.add(one);
          router.on(one, url, () => undefined, route);
        }
      });
    },
  };
}

function isEncoded(part: string): boolean {
  try {
    decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

/**
 * Answers every OPTIONS request that is not a preflight of an allowed origin. Register it before the CORS plugin, which
 * answers those. The plugin allows paths without a route too, so that a page can read the problem of its request.
 */
export function answerOptions(
  app: FastifyInstance,
  methods: Methods,
  isAllowedOrigin: (origin: string | undefined) => boolean,
): void {
  app.addHook("onRequest", (request, reply, done) => {
    if (request.method !== "OPTIONS") return done();
    const allowed = methods.of(request.raw.url ?? "");
    if (isPreflight(request) && isAllowedOrigin(request.headers.origin) && allowed?.hasCors !== false) return done();
    if (allowed) reply.code(204).header("allow", allowed.allow).send();
    else sendProblem(reply, new HubError("route_unknown"));
  });
}

const isPreflight = ({ headers }: FastifyRequest): boolean =>
  headers.origin !== undefined && headers["access-control-request-method"] !== undefined;

/**
 * Refuses a method that the path does not have, before any of the body is read. Register it after the CORS plugin, so that
 * a page can read the problem.
 */
export function refuseOtherMethods(app: FastifyInstance, methods: Methods): void {
  app.addHook("onRequest", (request, reply, done) => {
    const allowed = request.is404 ? methods.of(request.raw.url ?? "") : undefined;
    if (!allowed) return done();
    sendProblem(reply, notAllowed(allowed));
  });
}

const notAllowed = ({ allow }: Allowed): HubError =>
  new HubError("method_not_allowed", `This address takes ${allow}`, { headers: { allow } });

/** Refuses a URL that Fastify cannot route because it is not valid percent-encoded UTF-8. */
export function refuseUnreadable(methods: Methods, request: FastifyRequest, reply: FastifyReply): void {
  const names = methods.unreadable(request.raw.url ?? "");
  const errors = (names.length > 0 ? names : ["path"]).map((path) => ({
    path,
    message: "is not percent-encoded UTF-8",
  }));
  sendProblem(reply, new HubError("body_invalid", "The address cannot be read", { errors }));
}
