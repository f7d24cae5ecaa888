/** The check of `PUBLIC_URL`: its form, and whether it leads to a node of Tukio. */
import { request } from "undici";
import { z } from "zod";
import { providersWithoutWebhooks } from "../config/config.ts";
import { reachOf } from "../config/host.ts";
import type { EnabledProvider } from "../provider/enabled.ts";
import { type Check, error, type Finding, ok, warning } from "./check.ts";
import { codeOf, listText } from "./text.ts";

export interface PublicUrlCheckOptions {
  /** As configured; absent: none is. */
  publicUrl: string | undefined;
  /** The address that the node gives to others. */
  usedUrl: () => string;
  enabledProviders: readonly EnabledProvider[];
  isProduction: boolean;
}

export const publicUrlCheck = (options: PublicUrlCheckOptions): Check => ({
  id: "public_url",
  name: "PUBLIC_URL",
  run: async (signal) => formFault(options) ?? reach(options.usedUrl(), signal),
});

const setIt = "Set PUBLIC_URL to the https address at which providers and payers reach the nodes.";

/** Undefined if the address may be right. */
function formFault({ publicUrl, usedUrl, enabledProviders, isProduction }: PublicUrlCheckOptions): Finding | undefined {
  const url = usedUrl();
  const unreached = providersWithoutWebhooks({ publicUrl, enabledProviders });
  const given = publicUrl === undefined ? `PUBLIC_URL is not set, so that ${url} is used` : `PUBLIC_URL is ${url}`;
  if (unreached.length > 0) {
    const names = listText(unreached.map(({ name }) => name));
    return error(
      `${given}, which only this machine reaches: ${names} cannot send webhooks to it, and payments are settled by queries only.`,
      setIt,
    );
  }
  if (reachOf(url) === "own")
    return warning(
      `${given}, which only this machine reaches. That is enough for the sandbox, and for no payer's phone.`,
      setIt,
    );
  if (!url.startsWith("https:"))
    return (isProduction ? error : warning)(
      `${given}, which is not https: webhooks and pages of payers cross the network in the clear.`,
      setIt,
    );
  if (reachOf(url) === "private")
    return warning(
      `${given}, which only a private network reaches: providers on the Internet cannot send webhooks to it.`,
      `${setIt} Keep it if your providers reach this network.`,
    );
  return undefined;
}

const alive = z.object({ status: z.literal("ok") });

/** A small limit, because the answer of a node is 15 bytes. */
const answerBytesMax = 4_096;

async function reach(url: string, signal: AbortSignal): Promise<Finding> {
  let status: number;
  let isTukio = false;
  try {
    const answer = await request(`${url}/livez`, { signal, headersTimeout: 6_000, bodyTimeout: 6_000 });
    status = answer.statusCode;
    isTukio = status === 200 && alive.safeParse(await readJson(answer.body)).success;
  } catch (cause) {
    return unreachable(url, codeOf(cause));
  }
  if (isTukio) return ok(`${url} leads to a node of Tukio.`);
  return warning(
    `${url}/livez answers with HTTP ${status}, and not as Tukio does.`,
    "Look whether the proxy sends this address to the nodes, and whether they run.",
  );
}

async function readJson(body: AsyncIterable<Uint8Array>): Promise<unknown> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.length;
    if (size > answerBytesMax) return undefined;
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    return undefined;
  }
}

/** Codes of Node and OpenSSL about the server's certificate. */
const certificateFault = /CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME|HOSTNAME_MISMATCH/;

function unreachable(url: string, code: string): Finding {
  const { host } = new URL(url);
  if (certificateFault.test(code))
    return error(
      `The certificate of ${host} is not valid (${code}): providers and browsers refuse the connection.`,
      "Renew the certificate, with its whole chain, at the proxy.",
    );
  if (code === "ENOTFOUND")
    return error(`The name ${host} has no address (ENOTFOUND).`, "Correct PUBLIC_URL, or the DNS record of that name.");
  return warning(
    `This node does not reach ${url} (${code}).`,
    "Open the address /livez there from outside your network. If that works, your network only lacks the way back to itself, and nothing is wrong.",
  );
}
