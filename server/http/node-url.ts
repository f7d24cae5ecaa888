/** The base URLs of a node, and the origins whose pages may call it. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface NodeUrlSettings {
  /** The configured base URL; absent: `http://localhost:<port>`. */
  readonly publicUrl?: string;
  /** The address that the server binds to. */
  readonly host: string;
  readonly allowedOrigins: "any" | readonly string[];
}

export interface NodeUrl {
  /** Reads the port once the server listens. It stays known afterwards, because calls in flight outlive the listening server. */
  observe(server: Server): void;
  /** Base of the URLs given to clients and providers, without a slash at the end. */
  publicUrl(): string;
  /** Base of the URLs by which the node reaches itself, without a slash at the end. */
  selfUrl(): string;
  /** Whether a page of this origin may call the node. A request without an origin comes from no page of another site. */
  isAllowedOrigin(origin: string | undefined): boolean;
}

/** Without a configured `publicUrl` both URLs are right only after the server has begun to listen. */
export function createNodeUrl({ publicUrl: configured, host, allowedOrigins }: NodeUrlSettings): NodeUrl {
  let port: number | undefined;
  const publicUrl = (): string => configured ?? `http://localhost:${port}`;

  return {
    observe(server) {
      server.once("listening", () => {
        ({ port } = server.address() as AddressInfo);
      });
    },
    publicUrl,
    selfUrl: () => `http://${reachableHost(host)}:${port}`,
    isAllowedOrigin: (origin) =>
      origin === undefined ||
      allowedOrigins === "any" ||
      allowedOrigins.includes(origin) ||
      // The node's own pages: browsers send an origin with sockets and POST requests to the same origin too.
      origin === new URL(publicUrl()).origin,
  };
}

/** The host at which a server bound to `host` can reach itself. */
function reachableHost(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}
