/** Verifying events: signed ones, delivered by a node and made here, and forged ones. */
import { inspect } from "node:util";
import { Webhook } from "standardwebhooks";
import { beforeAll, describe, expect, it, vi } from "vitest";
import {
  createTukio,
  type EventHeaders,
  isOrderEvent,
  VerificationError,
  verifyEvent,
} from "../../merchant-sdk/index.ts";
import { startBackend } from "../support/backend.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, pay, startNode } from "../support/node.ts";

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

const [secret = "", other = ""] = [1, 2].map((byte) => `whsec_${Buffer.alloc(32, byte).toString("base64")}`);
const body = JSON.stringify({
  type: "order.succeeded",
  timestamp: "2026-11-20T21:00:00.123Z",
  data: { order: { orderId: "ORD-1", description: "চা ☕" } },
});

function headersOf({ text = body, at = new Date(), by = [secret] } = {}): Record<string, string> {
  return {
    "webhook-id": "one.0.3",
    "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
    "webhook-signature": by.map((one) => new Webhook(one).sign("one.0.3", at, text)).join(" "),
  };
}

describe("verifyEvent", () => {
  it("returns a typed event of what a node delivers, also while the secret is replaced", async () => {
    const node = await startNode({ databaseUrl });
    const tukio = createTukio({ url: node.url, apiKey });
    const backend = await startBackend();
    const { endpoint, secret: first } = await tukio.endpoints.create({ url: backend.url });
    const { order } = await pay(node, { phone: "+254712345601", description: "চা ☕" });
    const delivered = await vi.waitUntil(() => backend.received[0]);
    const event = verifyEvent(delivered.text, delivered.headers, first);
    expect(isOrderEvent(event) && event.data.order.orderId).toBe(order.orderId);
    if (event.type !== "order.succeeded") throw new Error("the event has another type");
    // The type of `data` follows from the type of the event.
    expect(event.data.order.orderId).toBe(order.orderId);
    expect(event.id).toBe(`${order.id}.0.3`);
    const { secret: second } = await tukio.endpoints.rotateSecret(endpoint.id);
    await tukio.endpoints.ping(endpoint.id);
    const ping = await vi.waitUntil(() => backend.received[1]);
    for (const secrets of [first, second, [other, first], [other, second]]) {
      const found = verifyEvent(ping.text, ping.headers, secrets);
      if (found.type !== "ping") throw new Error("the event has another type");
      expect([found.data.endpoint.id, isOrderEvent(found)]).toEqual([endpoint.id, false]);
    }
    expect(() => verifyEvent(ping.text, ping.headers, other)).toThrow(VerificationError);
  });

  const headers = headersOf();
  const forms: [string, EventHeaders][] = [
    ["Headers", new Headers(headers)],
    ["a record", headers],
    ["a record in capitals", Object.fromEntries(Object.entries(headers).map(([k, v]) => [k.toUpperCase(), v]))],
    [
      "a record with lists and absent values",
      { ...Object.fromEntries(Object.entries(headers).map(([k, v]) => [k, [v]])), cookie: undefined },
    ],
    ["pairs", Object.entries(headers)],
  ];
  it.each(forms)("reads headers from %s", (_name, form) => {
    expect(verifyEvent(body, form, secret).type).toBe("order.succeeded");
  });

  it("reads the body from text, a Buffer and bytes", () => {
    const bytes = Buffer.from(body);
    for (const form of [body, bytes, new Uint8Array(bytes)])
      expect(verifyEvent(form, headersOf(), secret)).toEqual({ id: "one.0.3", ...JSON.parse(body) });
  });

  it("accepts one of several signatures, and one of several secrets", () => {
    expect(verifyEvent(body, headersOf({ by: [other, secret] }), secret).id).toBe("one.0.3");
    expect(verifyEvent(body, headersOf(), [other, secret]).id).toBe("one.0.3");
  });

  const ago = (ms: number): Date => new Date(Date.now() - ms);
  const { "webhook-id": _id, ...withoutId } = headersOf();
  it.each<[string, string, EventHeaders]>([
    ["a changed byte", body.replace("ORD-1", "ORD-2"), headersOf()],
    ["another secret", body, headersOf({ by: [other] })],
    ["another id", body, { ...headersOf(), "webhook-id": "two.0.3" }],
    ["another time", body, { ...headersOf(), "webhook-timestamp": String(Math.floor(Date.now() / 1_000) - 1) }],
    ["an old time", body, headersOf({ at: ago(360_000) })],
    ["a time to come", body, headersOf({ at: ago(-360_000) })],
    ["a time that is none", body, { ...headersOf(), "webhook-timestamp": "NaN" }],
    ["no id", body, withoutId],
    ["no signature", body, { ...headersOf(), "webhook-signature": "v1,é v2,x v1" }],
    ["no headers", body, {}],
    ["signed text that is not JSON", "hello", headersOf({ text: "hello" })],
    ["signed JSON that is no event", "null", headersOf({ text: "null" })],
  ])("refuses %s", (_name, text, given) => {
    expect(() => verifyEvent(text, given, secret)).toThrow(VerificationError);
  });

  it("explains a body that was parsed before", () => {
    const parsed = JSON.parse(body) as unknown as string;
    expect(() => verifyEvent(parsed, headersOf(), secret)).toThrow(/express\.raw/);
  });

  it("explains a secret that is none, and does not show it", () => {
    for (const wrong of ["", "whsec_", "whsec_not*base64*", undefined as unknown as string, []]) {
      const attempt = (): unknown => verifyEvent(body, headersOf(), wrong);
      expect(attempt).toThrow(TypeError);
      expect(attempt).toThrow(/secret/);
      try {
        attempt();
      } catch (error) {
        expect(inspect(error)).not.toContain("not*base64");
      }
    }
  });
});
