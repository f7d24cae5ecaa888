/** Calls to a provider that wants an access token with each, and the calls that fetch one. */
import { z } from "zod";
import { HubError } from "../errors.ts";
import type { AccessToken } from "./access-token.ts";
import type { Answer, Call, Client } from "./http-client.ts";
import { Declined } from "./provider.ts";

export interface TokenClient {
  /** Fetches a token if none is at hand. Throws `Declined`, because nothing was asked. */
  prepare(): Promise<void>;
  /**
   * Makes a call with a token. One that the provider refuses is replaced once: whatever the call was for has surely not
   * happened. Throws `Declined` when there is no token.
   */
  call(send: (token: string) => Promise<Answer>): Promise<Answer>;
}

export function createTokenClient(accessToken: AccessToken, isTokenRefused: (answer: Answer) => boolean): TokenClient {
  const tokenFor = async (rejected?: string): Promise<string> => {
    try {
      return await accessToken.token(rejected);
    } catch (cause) {
      throw new Declined("provider_error", "no access token, so nothing was asked", cause);
    }
  };
  return {
    async prepare() {
      await tokenFor();
    },
    async call(send) {
      const token = await tokenFor();
      const answer = await send(token);
      return isTokenRefused(answer) ? send(await tokenFor(token)) : answer;
    },
  };
}

/** `expires_in` in seconds: a number in documentation, often a string on the wire. */
export const lifetime = z
  .union([z.number(), z.string().regex(/^\d+$/).transform(Number)])
  .pipe(z.number().min(1).max(86_400));

/** Longer than other calls may take: without a token there are none. */
export const tokenDeadlineMs = 15_000;

/**
 * Makes one call for a token and reads its reply. Throws `HubError` `provider_unavailable`, which says nothing of the
 * credentials.
 */
export async function fetchToken<Reply>(
  provider: string,
  { client, reply, ...call }: Omit<Call, "signal" | "deadlineMs"> & { client: Client; reply: z.ZodType<Reply> },
): Promise<Reply> {
  const { status, body } = await client.call({ ...call, deadlineMs: tokenDeadlineMs }).catch((cause: unknown) => {
    throw new HubError("provider_unavailable", `${provider} could not be asked for an access token`, { cause });
  });
  const read = reply.safeParse(body);
  if (status !== 200 || !read.success) {
    throw new HubError("provider_unavailable", `${provider} gave no access token (HTTP ${status})`);
  }
  return read.data;
}
