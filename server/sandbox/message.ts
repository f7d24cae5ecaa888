/** One request as it is forwarded to another node. */
import type { IncomingMessage } from "node:http";
import type { FastifyRequest } from "fastify";
import type { Dispatcher } from "undici";
import { HubError } from "../errors.ts";

export interface Message {
  method: Dispatcher.HttpMethod;
  /** With the query. */
  path: string;
  headers: Headers;
  body: Buffer;
}

type Headers = Record<string, string | string[]>;

/** The body that a request may have, unless its route takes more. */
const bodyBytesDefault = 65_536;

/** Headers of one connection (RFC 9110, section 7.6.1), and those that undici sets. */
const hopHeaders = new Set([
  ...["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"],
  ...["transfer-encoding", "upgrade", "expect", "content-length"],
]);

/** What proxies before this node report. The next node would take this node for the proxy. */
const proxyHeader = /^(forwarded|x-forwarded-.*|x-real-ip)$/;

/** The body is read in full, because it may be sent again to another node. */
export async function readMessage(
  { raw, method, headers, originalUrl }: FastifyRequest,
  bodyBytesMax = bodyBytesDefault,
): Promise<Message> {
  return {
    method: method as Dispatcher.HttpMethod,
    // A client may send the absolute form (RFC 9112, section 3.2.2).
    path: originalUrl.replace(/^https?:\/\/[^/?]*/i, ""),
    headers: withoutHopHeaders(headers, (name) => proxyHeader.test(name)),
    body: await readBody(raw, bodyBytesMax),
  };
}

async function readBody(raw: IncomingMessage, bodyBytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of raw) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new HubError("body_too_large");
  }
  return Buffer.concat(chunks);
}

/** Removes the headers of one connection, those that `connection` names, and those that `isOther` selects. */
export function withoutHopHeaders(
  headers: NodeJS.Dict<string | string[]>,
  isOther: (name: string) => boolean,
): Headers {
  const named = new Set(
    headers.connection
      ?.toString()
      .toLowerCase()
      .split(/[\s,]+/),
  );
  const kept = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined || hopHeaders.has(name) || named.has(name) || isOther(name) ? [] : [[name, value] as const],
  );
  return Object.fromEntries(kept);
}
