/**
 * Which methods each address takes, collected from the routes as they are registered. Every route has thereby its answers
 * to a method that it does not take (405) and to a plain OPTIONS (204), both with `Allow`; no route answers them itself.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from "fastify";
import findMyWay, { type HTTPMethod } from "find-my-way";
import { HubError } from "../errors.ts";
import { sendProblem } from "./problem.ts";

/** A path parameter may be as long as the longest URL that Node reads, because routes refuse parameters by what they are. */
export const routerOptions = { maxParamLength: 16_384 };

/** More than any route has. */
const segmentsMax = 12;

/** What one address takes. */
export interface Allowed {
  /** The value of `Allow`. */
  allow: string;
  /** Whether pages of other origins may call it at all. */
  hasCors: boolean;
}

export interface Methods {
  /** What the address of a request takes; undefined when no route has it. */
  of(url: string): Allowed | undefined;
  /** The names of the path parameters that are not percent-encoded UTF-8. */
  unreadable(url: string): string[];
  /** Collects the routes that are registered from now on. */
  collect(app: FastifyInstance): void;
}

/** Read when it is asked for, because a scope's own hooks may change it until the server is ready. */
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
      // Trying to decode a segment costs, and no route has so many.
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
        // The CORS plugin's own route, for preflights of every address.
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
 * Answers every OPTIONS that is no preflight of an allowed origin. Registered before the CORS plugin, which answers the
 * others, and which gives permission for addresses without a route too: a page then reads the problem of its real request.
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
 * Refuses a method that the address does not take, before anything is read of a body. Registered after the CORS plugin, so
 * that a page may read the problem.
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

/** Refuses an address that Fastify cannot route because it is not percent-encoded UTF-8. */
export function refuseUnreadable(methods: Methods, request: FastifyRequest, reply: FastifyReply): void {
  const names = methods.unreadable(request.raw.url ?? "");
  const errors = (names.length > 0 ? names : ["path"]).map((path) => ({
    path,
    message: "is not percent-encoded UTF-8",
  }));
  sendProblem(reply, new HubError("body_invalid", "The address cannot be read", { errors }));
}
