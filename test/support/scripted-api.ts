/** A server that answers each request with the next function of a script, and keeps what it received. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface Received {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}

export type Reply = (response: ServerResponse, request: Received) => void;

export interface ScriptedApi {
  url: string;
  received: Received[];
  /** Answers the next requests so. The last reply answers all that follow. */
  script(...replies: Reply[]): void;
}

/** Resets the connection. */
export const broken: Reply = (response) => void response.socket?.resetAndDestroy();

/** Never answers. */
export const silent: Reply = () => undefined;

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Reply =>
  (response) =>
    void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));

/** A problem of Tukio. `Retry-After` is 0, so that a test does not wait. */
export const problem = (
  status: number,
  code: string,
  headers: Record<string, string> = { "retry-after": "0" },
): Reply => json(status, { code, title: code, detail: `detail of ${code}`, status, retryable: status >= 429 }, headers);

export async function startScriptedApi(): Promise<ScriptedApi> {
  const received: Received[] = [];
  let replies: Reply[] = [silent];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { method = "", url: path = "", headers } = request;
    const one = { method, path, headers, body };
    received.push(one);
    const [reply] = replies;
    if (replies.length > 1) replies = replies.slice(1);
    reply?.(response, one);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    script(...given) {
      replies = given;
    },
  };
}
