/** A payment provider whose answers the test chooses, and adapters and nodes that are configured to use it. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import type { Payment } from "../../server/order/order.ts";
import type { TokenRules } from "../../server/provider/access-token.ts";
import { type Client, createClient } from "../../server/provider/http-client.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { type ProviderName, registry } from "../../server/provider/registry.ts";
import { providerAccount } from "./account.ts";

/** One request as the provider received it. */
export interface ScriptedCall {
  method: string;
  /** The path with its query string. */
  path: string;
  headers: IncomingHttpHeaders;
  text: string;
  /** The parsed text; empty when the text is not JSON. */
  body: Record<string, unknown>;
}

/** The status defaults to 200. `text` is sent unchanged, `body` as JSON. */
export interface ScriptedAnswer {
  status?: number;
  body?: unknown;
  text?: string;
  headers?: Record<string, string>;
}

/** `drop` closes the connection without an answer. */
export type Respond = (call: ScriptedCall) => ScriptedAnswer | "drop" | Promise<ScriptedAnswer | "drop">;

export interface ScriptedProvider {
  url: string;
  calls: ScriptedCall[];
  /** Answers every request; may be replaced at any time. */
  respond: Respond;
}

export async function startScriptedProvider(respond: Respond): Promise<ScriptedProvider> {
  const script: ScriptedProvider = { url: "", calls: [], respond };
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const { method = "", url: path = "", headers } = request;
    const call: ScriptedCall = { method, path, headers, text, body: parse(text) };
    script.calls.push(call);
    const answer = await script.respond(call);
    if (answer === "drop") return request.socket.destroy();
    response
      .writeHead(answer.status ?? 200, { "content-type": "application/json", ...answer.headers })
      .end(answer.text ?? JSON.stringify(answer.body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  script.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return script;
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/**
 * Creates an adapter with its sandbox's account for this base URL. It keeps access tokens in memory. `wrap` replaces its client.
 */
export function openProvider(
  name: ProviderName,
  url: string,
  wrap: (client: Client) => Client = (client) => client,
): Provider {
  const { definition } = registry[name];
  const client = wrap(createClient());
  onTestFinished(() => client.close());
  const accessToken = ({ fetch }: TokenRules) => {
    let token: string | undefined;
    return {
      async token(rejected?: string) {
        if (token === undefined || token === rejected) ({ token } = await fetch());
        return token;
      },
    };
  };
  return definition.configure(providerAccount(name))({ baseUrl: () => url, client, accessToken });
}

const samples: Record<ProviderName, Partial<Payment>> = {
  daraja: { phone: "+254712345600", currency: "KES" },
  payhero: { phone: "+254712345600", currency: "KES" },
  lipana: { phone: "+254712345600", currency: "KES" },
  zenopay: { phone: "+255712345600", currency: "TZS" },
  bkash: { currency: "BDT" },
  mtn: { phone: "+256771234500", currency: "UGX" },
};

/** A payment that this provider accepts: 150.00, or 15,000 in a currency without minor units. */
export const samplePayment = (name: ProviderName, fields: Partial<Payment> = {}): Payment => ({
  id: "0199f2c4-0000-7000-8000-000000000001",
  orderId: "ORD-1001",
  attempt: 1,
  provider: name,
  amountMinor: 15_000n,
  currency: "KES",
  ...samples[name],
  ...fields,
});

/** The environment of a node that uses `url` as this provider, with the sandbox's account. */
export function providerEnv(name: ProviderName, url: string): Record<string, string> {
  const prefix = `${name.toUpperCase()}_`;
  const account = Object.entries(providerAccount(name)).map(([variable, value]) => [prefix + variable, value]);
  return { ...Object.fromEntries(account), [`${prefix}BASE_URL`]: url };
}
