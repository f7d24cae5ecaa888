/** Reads the endpoint that the environment defines: `ENDPOINT_URL` and `ENDPOINT_SECRET`. */
import { refusalOf } from "../delivery/address.ts";
import type { EnvironmentEndpoint } from "../delivery/environment.ts";
import { isSecret } from "../delivery/secret.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Undefined if neither is set. Every problem is added to `problems`. */
export function readEndpoint(
  { ENDPOINT_URL: url = "", ENDPOINT_SECRET: secret = "" }: Environment,
  { isProduction, problems }: { isProduction: boolean; problems: string[] },
): EnvironmentEndpoint | undefined {
  if (url === "" && secret === "") return undefined;
  const found = problemsOf(url, secret, isProduction);
  problems.push(...found);
  return found.length === 0 ? { url, secret } : undefined;
}

function problemsOf(url: string, secret: string, isProduction: boolean): string[] {
  const found: string[] = [];
  const parsed = URL.parse(url);
  const refusal = parsed ? refusalOf(parsed, { allowsLoopback: !isProduction }) : "must be a URL";
  if (url === "") found.push("ENDPOINT_URL: is needed beside ENDPOINT_SECRET");
  else if (refusal) found.push(`ENDPOINT_URL: ${refusal}`);
  if (secret === "") found.push("ENDPOINT_SECRET: is needed beside ENDPOINT_URL");
  else if (!isSecret(secret)) found.push("ENDPOINT_SECRET: must be whsec_ and 24 to 64 bytes in base64");
  return found;
}
