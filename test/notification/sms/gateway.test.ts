/** The adapters of SMS gateways: what they send, and what they read in answers and delivery reports. */
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { HubError } from "../../../server/errors.ts";
import { smsGatewayNames } from "../../../server/notification/sms/gateway.ts";
import { type ScriptedAnswer, startScriptedProvider } from "../../support/scripted-provider.ts";
import { openGateway, reportReaders, resultText, smsFixtures } from "../../support/sms.ts";

const sms = { id: "0199f2c4-0000-7000-8000-000000000001", to: "+254712345678", text: "KES 150.00 paid & more: 'ok'" };
const never = new AbortController().signal;

async function sendTo(name: (typeof smsGatewayNames)[number], answer: ScriptedAnswer | "drop") {
  const script = await startScriptedProvider(() => answer);
  const result = await openGateway(name, script.url).send(sms, never);
  return { result: resultText(result), calls: script.calls };
}

describe.each(["africastalking", "beem"] as const)("the adapter of %s", (name) => {
  const fixtures = smsFixtures(name);

  it.each(
    fixtures.filter(
      ([
        ,
        {
          expect: { send },
        },
      ]) => send !== undefined,
    ),
  )("reads the answer %s", async (_name, one) => {
    const { status = 200, body, text } = one;
    const { result, calls } = await sendTo(name, { status, body, ...(text !== undefined && { text }) });
    expect(result).toBe(one.expect.send);
    expect(calls).toHaveLength(1);
  });

  it.each(
    fixtures.filter(
      ([
        ,
        {
          expect: { report },
        },
      ]) => report !== undefined,
    ),
  )("reads the report %s", (_name, one) => {
    const { of, status } = reportReaders[name]({ contentType: one.contentType ?? "", body: one.text ?? "" });
    expect(of).toHaveProperty("reference");
    expect(`${Object.values(of)[0]} ${status ?? "on its way"}`).toBe(one.expect.report);
  });

  it("has a source for each fixture, and recorded answers among them", () => {
    expect(fixtures.filter(([, { source }]) => !source)).toEqual([]);
    expect(fixtures.some(([, { certainty }]) => certainty === "recorded")).toBe(true);
  });
});

describe("the adapter of africastalking", () => {
  it("sends a form with the key in a header, and asks for JSON", async () => {
    const { calls } = await sendTo("africastalking", { status: 201, body: {} });
    const [call] = calls;
    expect(call).toMatchObject({ method: "POST", path: "/version1/messaging" });
    expect(call?.headers).toMatchObject({
      apikey: "key",
      accept: "application/json",
      "content-type": "application/x-www-form-urlencoded",
    });
    expect(Object.fromEntries(new URLSearchParams(call?.text))).toEqual({
      ...{ username: "shop", to: sms.to, message: sms.text, bulkSMSMode: "1", from: "ASHA" },
    });
  });
});

describe("the adapter of beem", () => {
  it("sends JSON with the key and the secret as Basic credentials, and the number without +", async () => {
    const { calls } = await sendTo("beem", { body: {} });
    const [call] = calls;
    expect(call).toMatchObject({ method: "POST", path: "/v1/send" });
    expect(call?.headers.authorization).toBe(`Basic ${Buffer.from("key:secret").toString("base64")}`);
    expect(call?.body).toEqual({
      ...{ source_addr: "ASHA", encoding: 0, schedule_time: "", message: sms.text },
      recipients: [{ recipient_id: 1, dest_addr: "254712345678" }],
    });
  });
});

describe("the adapter of the HTTP gateway", () => {
  it("sends JSON with the key as a bearer token", async () => {
    const { calls } = await sendTo("http", { body: {} });
    expect(calls[0]?.headers.authorization).toBe("Bearer key");
    expect(calls[0]?.body).toEqual({ ...sms, from: "ASHA" });
  });

  it.each([
    [{ body: { accepted: true, id: "m-1", parts: 2 } }, "sent m-1, 2 parts"],
    [{ body: { accepted: true } }, "sent without an id"],
    [{ status: 500, body: { accepted: false, error: "no balance" } }, "refused: no balance"],
    [{ body: { accepted: false, error: "no such number", permanent: true } }, "refused for good: no such number"],
    [{ status: 401, body: { error: "key" } }, "refused: HTTP 401"],
    [{ body: {} }, "unknown: the answer cannot be read (HTTP 200)"],
    [{ status: 204, text: "" }, "unknown: the answer cannot be read (HTTP 204)"],
    [{ status: 500, body: { error: "no balance" } }, "unknown: the answer cannot be read (HTTP 500)"],
    [{ status: 409, body: { error: "sent before" } }, "unknown: the answer cannot be read (HTTP 409)"],
  ] as [ScriptedAnswer, string][])("reads %j as %s", async (answer, expected) => {
    expect((await sendTo("http", answer)).result).toBe(expected);
  });

  it("reads reports by the id of the request", () => {
    const read = (body: unknown) => reportReaders.http({ contentType: "", body: JSON.stringify(body) });
    expect(read({ id: sms.id, status: "delivered" })).toEqual({ of: { id: sms.id }, status: "delivered" });
    expect(read({ id: sms.id, status: "failed" })).toEqual({ of: { id: sms.id }, status: "failed" });
    expect(read({ id: sms.id, status: "queued" })).toEqual({ of: { id: sms.id }, status: undefined });
  });
});

describe.each(smsGatewayNames)("the adapter of %s", (name) => {
  it("knows that nothing was sent to a gateway that accepts no connection", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    const result = await openGateway(name, `http://127.0.0.1:${port}`).send(sms, never);
    expect(resultText(result)).toMatch(/^refused: POST .*ECONNREFUSED$/);
  });

  it("does not know what a gateway did that ended the connection", async () => {
    const { result, calls } = await sendTo(name, "drop");
    expect(result).toMatch(/^unknown: the gateway did not answer: /);
    expect(calls).toHaveLength(1);
  });

  it("does not know what a gateway did that was given no more time", async () => {
    const aborted = new AbortController();
    const script = await startScriptedProvider(() => {
      aborted.abort();
      return new Promise(() => undefined);
    });
    const result = await openGateway(name, script.url).send(sms, aborted.signal);
    expect(resultText(result)).toMatch(/^unknown: /);
    expect(script.calls).toHaveLength(1);
  });

  it("knows that nothing was sent to a gateway that speaks no TLS", async () => {
    const server = createTcpServer((socket) => socket.destroy());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const result = await openGateway(name, `https://127.0.0.1:${port}`).send(sms, never);
    expect(result).toMatchObject({ status: "refused", isPermanent: false });
  });

  it("passes on when a gateway that refuses wants to be asked again", async () => {
    const script = await startScriptedProvider(() => ({ status: 429, body: {}, headers: { "retry-after": "60" } }));
    const result = await openGateway(name, script.url).send(sms, never);
    expect(result).toEqual({ status: "refused", reason: "HTTP 429", isPermanent: false, retryAfterS: 60 });
  });

  it("puts neither the number nor the text into the reason of a refusal", async () => {
    const said = `no ${sms.to} ${sms.text}`;
    const bodies = [
      { SMSMessageData: { Message: said, Recipients: [] } },
      { SMSMessageData: { Message: "", Recipients: [{ statusCode: 403, status: said, messageId: "None" }] } },
      { code: 111, message: said },
      { accepted: false, error: said },
    ];
    for (const body of bodies) {
      const script = await startScriptedProvider(() => ({ body }));
      const result = await openGateway(name, script.url).send(sms, never);
      expect(result).toHaveProperty("reason");
      expect(result).not.toHaveProperty("reason", expect.stringContaining("712345678"));
    }
  });

  it.each([
    "",
    "{",
    "[]",
    "null",
    "\u0000",
    "id=&status=Success",
    '{"request_id":{}}',
    '{"id":7,"status":"delivered"}',
  ])("refuses the report %j", (body) => {
    expect(() => reportReaders[name]({ contentType: "", body })).toThrow(HubError);
  });
});
