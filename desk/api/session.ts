/** The session of the person at the desk: an API key, exchanged for a cookie that scripts cannot read. */
import { queryOptions, useQuery } from "@tanstack/react-query";
import { nodeUrl } from "./address.ts";
import { cache, key } from "./cache.ts";
import { isFault, read } from "./call.ts";

export type Scope = "read" | "pay" | "manage";

export interface Session {
  name: string;
  scopes: readonly Scope[];
}

/** Null: nobody is signed in. */
export const sessionQuery = queryOptions<Session | null>({
  queryKey: [key.session],
  queryFn: () =>
    read(call("GET")).catch((error: unknown) => {
      if (isFault(error, 401)) return null;
      throw error;
    }),
  staleTime: 60_000,
});

export async function signIn(apiKey: string): Promise<void> {
  const session = await read(call("POST", { key: apiKey }));
  cache.setQueryData(sessionQuery.queryKey, session);
}

export async function signOut(): Promise<void> {
  await read(call("DELETE"));
  // Nothing of the last person stays in memory.
  cache.clear();
  cache.setQueryData(sessionQuery.queryKey, null);
}

/** Whether the person may do what needs a scope. The server decides; the screen only hides what would be refused. */
export function useMay(scope: Scope): boolean {
  const { data } = useQuery(sessionQuery);
  return data?.scopes.includes(scope) ?? false;
}

async function call(method: string, body?: object): Promise<{ data?: Session; error?: unknown; response: Response }> {
  const response = await fetch(`${nodeUrl}/desk/session`, {
    method,
    ...(body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });
  const answer = await response.json().catch(() => undefined);
  return response.ok ? { data: answer, response } : { error: answer, response };
}
