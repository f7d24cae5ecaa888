/** The check of an account at a company: one call that changes nothing, and what the company answers. */
import type { Call, Client } from "./http-client.ts";
import type { Probe } from "./provider.ts";
import { providerText, secretsOf } from "./provider-text.ts";

/** Makes the call. Throws `CallFailed` and `Unreachable`. */
export async function probe(client: Client, call: Call): Promise<Probe> {
  const { status, body } = await client.call(call);
  return { status, isJson: body !== undefined, text: providerText(body, secretsOf(call)), body };
}
