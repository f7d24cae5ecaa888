/** A Daraja server that holds each push until the test answers it, and the environment of a node that uses it. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { providerEnv } from "./scripted-provider.ts";

/** The environment of a node that uses `url` as Daraja, with the sandbox's account. */
export const darajaEnv = (url: string): Record<string, string> => providerEnv("daraja", url);

/** One STK push that waits for its answer. */
export interface HeldPush {
  headers: IncomingHttpHeaders;
  callbackUrl: string;
  reference: string;
  /** Answers the push with 200 and its reference. */
  accept(): void;
  /** Answers the push with this status and body. */
  answer(status: number, body: string): void;
  /** Posts Safaricom's callback to the push's URL; by default a success over 150 shillings. */
  webhook(callback?: object): Promise<Response>;
}

export interface ScriptedDaraja {
  env: Record<string, string>;
  /** Takes the oldest push that was not taken yet; waits for one if necessary. */
  nextPush(): Promise<HeldPush>;
}

/** Starts the server. It stops with the test, or when the function passed to `release` is called. */
export async function startScriptedDaraja(
  release: (end: () => void) => void = onTestFinished,
): Promise<ScriptedDaraja> {
  const pushes: HeldPush[] = [];
  const waiting: ((push: HeldPush) => void)[] = [];
  const server = createServer(async (request, response) => {
    const answer = (status: number, body: string): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(body);
    };
    if (request.url?.startsWith("/oauth/")) return answer(200, '{"access_token":"token","expires_in":"3599"}');
    // Queries are no pushes: a node also checks due payments of other tests in its database.
    if (request.url?.startsWith("/mpesa/stkpushquery/")) {
      return answer(500, '{"errorCode":"500.001.1001","errorMessage":"The transaction is being processed"}');
    }
    const text = await textOf(request);
    // An empty body means that the client was killed while it sent the request.
    if (text === "") return;
    const { CallBackURL } = JSON.parse(text) as { CallBackURL: string };
    const push = hold(CallBackURL, request.headers, answer);
    const next = waiting.shift();
    if (next) next(push);
    else pushes.push(push);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  release(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    env: darajaEnv(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    nextPush: () => {
      const push = pushes.shift();
      return push ? Promise.resolve(push) : new Promise((resolve) => waiting.push(resolve));
    },
  };
}

let pushCount = 0;

function hold(callbackUrl: string, headers: IncomingHttpHeaders, answer: HeldPush["answer"]): HeldPush {
  pushCount += 1;
  const reference = `ws_CO_${process.pid}_${pushCount}`;
  const ids = { MerchantRequestID: "1-2-3", CheckoutRequestID: reference };
  return {
    headers,
    callbackUrl,
    reference,
    answer,
    accept: () => answer(200, JSON.stringify({ ...ids, ResponseCode: "0" })),
    webhook: (callback = success()) =>
      fetch(callbackUrl, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ Body: { stkCallback: { ...ids, ...callback } } }),
      }),
  };
}

let receiptCount = 0;

/** The callback of a successful payment over `amount` shillings, by default with a new receipt. */
export function success(amount = 150, receipt?: string): object {
  receiptCount += 1;
  const items = {
    Amount: amount,
    MpesaReceiptNumber: receipt ?? `T${process.pid}R${receiptCount}`,
    PhoneNumber: 254_712_345_678,
  };
  return {
    ResultCode: 0,
    CallbackMetadata: { Item: Object.entries(items).map(([Name, Value]) => ({ Name, Value })) },
  };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
