/** The session of the person at the desk: an API key, exchanged for a cookie that scripts cannot read. */
import { queryOptions, useQuery } from "@tanstack/react-query";
import { cache, forget, key } from "./cache.ts";
import { api, isFault, read } from "./call.ts";

export type Scope = "read" | "pay" | "manage";

export interface Session {
  name: string;
  scopes: readonly Scope[];
}

/** Null: nobody is signed in. */
export const sessionQuery = queryOptions<Session | null>({
  queryKey: [key.session],
  queryFn: () =>
    read(api.GET("/desk/session")).catch((error: unknown) => {
      if (isFault(error, 401)) return null;
      throw error;
    }),
  staleTime: 60_000,
});

export async function signIn(apiKey: string): Promise<void> {
  const session = await read(api.POST("/desk/session", { body: { key: apiKey } }));
  cache.setQueryData(sessionQuery.queryKey, session);
}

export async function signOut(): Promise<void> {
  await read(api.DELETE("/desk/session"));
  forget();
}

/** Whether the person may do what needs a scope. The server decides; the screen only hides what would be refused. */
export function useMay(scope: Scope): boolean {
  const { data } = useQuery(sessionQuery);
  return data?.scopes.includes(scope) ?? false;
}
