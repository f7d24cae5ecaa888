/** The bench's Daraja server. It accepts pushes and stores the webhook URL of each. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { callback } from "./work.ts";

export interface Daraja {
  url: string;
  /** Delay before the answer to a push. */
  latencyMs: number;
  /** Each order's webhook, by the push's account reference, which is the order id. */
  webhooks: Map<string, { url: string; body: string }>;
  close(): Promise<void>;
}

export async function startDaraja(): Promise<Daraja> {
  const webhooks: Daraja["webhooks"] = new Map();
  let pushes = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      response.setHeader("content-type", "application/json");
      if (request.url?.startsWith("/oauth/")) return response.end('{"access_token":"bench","expires_in":"3599"}');
      if (!request.url?.startsWith("/mpesa/stkpush/")) {
        response.statusCode = 500;
        return response.end('{"errorCode":"500.001.1001","errorMessage":"The transaction is being processed"}');
      }
      const { CallBackURL, AccountReference } = JSON.parse(Buffer.concat(chunks).toString());
      pushes += 1;
      const reference = `ws_CO_21112026143500_${pushes}`;
      webhooks.set(AccountReference, { url: new URL(CallBackURL).pathname, body: callback(reference) });
      if (daraja.latencyMs > 0) await wait(daraja.latencyMs);
      const ids = { MerchantRequestID: "29115-34620561-1", CheckoutRequestID: reference };
      return response.end(JSON.stringify({ ...ids, ResponseCode: "0", ResponseDescription: "Success" }));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const daraja: Daraja = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    latencyMs: 0,
    webhooks,
    async close() {
      server.closeAllConnections();
      server.close();
    },
  };
  return daraja;
}
