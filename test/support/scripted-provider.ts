/** A payment provider that answers as the test says, call by call; and adapters and nodes that are pointed at one. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import type { Payment } from "../../server/order/order.ts";
import type { TokenRules } from "../../server/provider/access-token.ts";
import { createClient } from "../../server/provider/http-client.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { type ProviderName, registry } from "../../server/provider/registry.ts";
import { providerAccount } from "./account.ts";

/** One call of ours as the provider got it. */
export interface ScriptedCall {
  method: string;
  /** With its query. */
  path: string;
  headers: IncomingHttpHeaders;
  text: string;
  /** The text as JSON; empty when it is none. */
  body: Record<string, unknown>;
}

/** 200 by default; `text` is sent as it is, `body` as JSON. */
export interface ScriptedAnswer {
  status?: number;
  body?: unknown;
  text?: string;
  headers?: Record<string, string>;
}

/** `drop`: the connection ends without an answer. */
export type Respond = (call: ScriptedCall) => ScriptedAnswer | "drop" | Promise<ScriptedAnswer | "drop">;

export interface ScriptedProvider {
  url: string;
  calls: ScriptedCall[];
  /** Answers from now on. */
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

/** The adapter with its sandbox's account, at this address. Tokens are kept in memory. */
export function openProvider(name: ProviderName, url: string): Provider {
  const { definition } = registry[name];
  const client = createClient();
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

/** A payment that this provider takes, of 150.00 where its currency has cents. */
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

/** The environment of a node whose provider of this name is at `url`, with the sandbox's account. */
export function providerEnv(name: ProviderName, url: string): Record<string, string> {
  const prefix = `${name.toUpperCase()}_`;
  const account = Object.entries(providerAccount(name)).map(([variable, value]) => [prefix + variable, value]);
  return { ...Object.fromEntries(account), [`${prefix}BASE_URL`]: url };
}
