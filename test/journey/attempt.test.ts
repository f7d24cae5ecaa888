/** Each attempt is initiated at most once, and never for a paid order. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode } from "../support/node.ts";
import { darajaEnv, startScriptedDaraja } from "../support/scripted-daraja.ts";

describe("a second attempt that waits for its access token", () => {
  it("is not initiated when the first attempt's late success arrives meanwhile (G10)", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const daraja = await startScriptedDaraja();
    // A proxy in front of Daraja that holds access tokens back and counts pushes.
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let tokens = 0;
    let pushes = 0;
    const front = createServer(async (request, response) => {
      const isToken = request.url?.startsWith("/oauth/");
      if (isToken) tokens += 1;
      else pushes += 1;
      if (isToken && tokens > 1) await released;
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const answer = await fetch(daraja.env.DARAJA_BASE_URL + (request.url ?? ""), {
        method: request.method ?? "GET",
        ...(chunks.length > 0 && { body: Buffer.concat(chunks) }),
      });
      response.writeHead(answer.status, { "content-type": "application/json" }).end(await answer.text());
    });
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      front.closeAllConnections();
      front.close();
    });
    const env = darajaEnv(`http://127.0.0.1:${(front.address() as AddressInfo).port}`);
    const node = await startNode({ databaseUrl: database.url, env });
    const { order } = await pay(node);
    const first = await daraja.nextPush();
    first.accept();
    await first.webhook({ ResultCode: 1032 });
    await node.close();

    // A node without an access token in memory or in the database.
    const { default: pg } = await import("pg");
    const client = new pg.Client(database.url);
    await client.connect();
    await client.query("delete from credential");
    await client.end();
    const other = await startNode({ databaseUrl: database.url, env: { ...env, PUBLIC_URL: "http://127.0.0.1:9" } });
    await pay(other, { orderId: order.orderId });
    await vi.waitUntil(() => tokens === 2);
    const body = JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: first.reference, ResultCode: 0 } } });
    await fetch(other.url + new URL(first.callbackUrl).pathname, { method: "POST", body });
    release();
    await vi.waitUntil(() => other.log.some((line) => line.includes('"event":"provider.initiate.answered"')));
    expect(pushes).toBe(1);
    const { body: view } = await asMerchant(other, `/v1/orders/${order.orderId}`);
    expect(view.order).toMatchObject({ status: "succeeded", payment: { attempt: 1 } });
    expect(view.payments[1]).toMatchObject({ status: "failed", reason: "rejected" });
  });
});
