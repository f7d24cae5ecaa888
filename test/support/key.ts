/** API keys and sessions of the desk, for tests. */
import type { Scope } from "../../server/auth/api-key.ts";
import { type Answer, asMerchant, call, type TestNode } from "./node.ts";

type Node = Pick<TestNode, "url">;

export interface CreatedKey {
  key: { id: string; name: string; scopes: Scope[]; createdAt: string };
  secret: string;
}

/** Creates a key with TUKIO_API_KEY. */
export async function createKey(node: Node, scopes: readonly Scope[], name = "a shop"): Promise<CreatedKey> {
  const { status, body } = await asMerchant(node, "/v1/keys", { name, scopes });
  if (status !== 201) throw new Error(`no key: ${status} ${JSON.stringify(body)}`);
  return body as unknown as CreatedKey;
}

/** Sends a request with a key. */
export const withKey = (
  node: Node,
  secret: string,
  path: string,
  { method = "GET", body }: { method?: string; body?: unknown } = {},
): Promise<Answer> =>
  call(node.url + path, {
    method,
    headers: { authorization: `Bearer ${secret}`, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });

/** Sends a request as the desk's page does: `cookie` is `name=value`. `headers` replaces those that the browser sets. */
export const asDesk = (
  node: Node,
  cookie: string,
  path: string,
  { method = "GET", body, headers = {} }: { method?: string; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer> =>
  call(node.url + path, {
    method,
    headers: {
      ...(cookie !== "" && { cookie }),
      "sec-fetch-site": "same-origin",
      ...(method !== "GET" && { origin: node.url }),
      ...(body !== undefined && { "content-type": "application/json" }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });

/** Signs in, and returns the answer and the cookie. `cookie`: what the browser has already. */
export async function signIn(node: Node, key: string, cookie = ""): Promise<{ answer: Answer; cookie: string }> {
  const answer = await asDesk(node, cookie, "/desk/session", { method: "POST", body: { key } });
  return { answer, cookie: answer.headers.get("set-cookie")?.split(";")[0] ?? "" };
}
