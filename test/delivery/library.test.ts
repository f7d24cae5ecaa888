/**
 * What a node delivers, verified by other languages' libraries of Standard Webhooks. A library that cannot be installed is skipped with
 * the reason. test/docs/handler.test.ts verifies without a library, in Python too.
 */
import { beforeAll, describe, expect, it, vi } from "vitest";
import { addEndpoint, type Received, startBackend } from "../support/backend.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { openLibrary, webhookLibraries } from "../support/webhook-library.ts";

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

/** Pays an order and returns the message that the backend receives. */
async function receive(node: TestNode, received: readonly Received[]): Promise<Received> {
  const count = received.length;
  await pay(node, { phone: "+254712345601", description: "চা, “Kahawa” & ☕ \\ \u2028" });
  return vi.waitUntil(() => received[count]);
}

const changed = (text: string): string => text.replace('"amountMinor":15000', '"amountMinor":15001');

describe.each(webhookLibraries)("library for $language", (library) => {
  it("verifies a delivery, also with either secret of a rotation, and refuses a changed byte", async (context) => {
    const verify = await openLibrary(library);
    if (typeof verify === "string") {
      // Vitest's default reporter prints neither the reason nor the console of a skipped test.
      process.stderr.write(`${library.language}: ${verify}\n`);
      return context.skip(verify);
    }
    const node = await startNode({ databaseUrl });
    const backend = await startBackend();
    const endpointId = await addEndpoint(node, backend, { events: ["order.succeeded"] });
    const [secret = ""] = backend.secrets;
    const { headers, text } = await receive(node, backend.received);
    expect(text).toContain("চা");
    expect(changed(text)).not.toBe(text);
    const { body } = await asMerchant(node, `/v1/endpoints/${endpointId}/rotate-secret`, {});
    const { secret: newer } = body as unknown as { secret: string };
    const rotated = await receive(node, backend.received);
    expect(rotated.headers["webhook-signature"]?.split(" ")).toHaveLength(2);

    expect(
      await verify([
        { secret, headers, text },
        { secret: newer, headers, text },
        { secret, headers, text: changed(text) },
        { secret, headers: { ...headers, "webhook-id": rotated.id }, text },
        {
          secret,
          headers: { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) },
          text,
        },
        { secret, headers: rotated.headers, text: rotated.text },
        { secret: newer, headers: rotated.headers, text: rotated.text },
        { secret, headers: rotated.headers, text: changed(rotated.text) },
        { secret: newer, headers: rotated.headers, text: changed(rotated.text) },
      ]),
    ).toEqual([true, false, false, false, false, true, true, false, false]);
  });
});
