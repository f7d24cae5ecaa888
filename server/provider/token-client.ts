/** Calls with an access token, and the calls that fetch one. */
import { z } from "zod";
import { HubError } from "../errors.ts";
import type { AccessToken } from "./access-token.ts";
import type { Answer, Call, Client } from "./http-client.ts";
import { Declined } from "./provider.ts";
import { providerText, secretsOf } from "./provider-text.ts";

export interface TokenClient {
  /** Fetches a token if there is no valid one. Throws `Declined` without one, because no payer was asked. */
  prepare(): Promise<void>;
  /**
   * Makes a call with a token. If the provider refuses the token, the call had no effect and is made once more with another
   * token. Throws `Declined` without a token.
   */
  call(send: (token: string) => Promise<Answer>): Promise<Answer>;
}

export function createTokenClient(accessToken: AccessToken, isTokenRefused: (answer: Answer) => boolean): TokenClient {
  const tokenFor = async (rejected?: string): Promise<string> => {
    try {
      return await accessToken.token(rejected);
    } catch (cause) {
      throw new Declined("provider_error", "no access token, so no request was sent", cause);
    }
  };
  return {
    async prepare() {
      await tokenFor();
    },
    async call(send) {
      const token = await tokenFor();
      const answer = await send(token);
      if (!isTokenRefused(answer)) return answer;
      accessToken.onRefused?.(answer, token);
      return send(await tokenFor(token));
    },
  };
}

/** `expires_in` in seconds: a number in the providers' documentation, often a string on the wire (seen at Safaricom). */
export const lifetime = z
  .union([z.number(), z.string().regex(/^\d+$/).transform(Number)])
  .pipe(z.number().min(1).max(86_400));

/** 15 s, longer than other calls, because no call is possible without a token. */
export const tokenDeadlineMs = 15_000;

/** The cause of the error after a token call that the provider answered without a token. */
export class TokenDenied extends Error {
  readonly status: number;
  /** The provider's own text, without credentials. */
  readonly text: string;

  constructor(status: number, text: string) {
    super(`HTTP ${status} ${text}`.trim());
    this.name = "TokenDenied";
    this.status = status;
    this.text = text;
  }
}

/**
 * Makes one token call and reads its reply. Throws `HubError` `provider_unavailable`, without the credentials. Its cause is
 * `TokenDenied` if the provider answered.
 */
export async function fetchToken<Reply>(
  provider: string,
  { client, reply, ...call }: Omit<Call, "signal" | "deadlineMs"> & { client: Client; reply: z.ZodType<Reply> },
): Promise<Reply> {
  const { status, body } = await client.call({ ...call, deadlineMs: tokenDeadlineMs }).catch((cause: unknown) => {
    throw new HubError("provider_unavailable", `${provider} did not answer the token call`, { cause });
  });
  const read = reply.safeParse(body);
  if (status !== 200 || !read.success) {
    const cause = new TokenDenied(status, providerText(body, secretsOf(call)));
    throw new HubError("provider_unavailable", `${provider} issued no access token (HTTP ${status})`, { cause });
  }
  return read.data;
}
