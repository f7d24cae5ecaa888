/** The sandboxes of the SMS gateways, by their own adapters. What the gateways really answer is in gateway.test.ts. */
import { randomUUID } from "node:crypto";
import { describe, expect, it, vi } from "vitest";
import { smsGatewayNames } from "../../../server/notification/sms/gateway.ts";
import { resultText, startGatewaySandbox } from "../../support/sms.ts";

const never = new AbortController().signal;

const smsTo = (to: string, text = "KES 150.00 paid") => ({ id: randomUUID(), to, text });

describe.each(smsGatewayNames)("the sandbox of %s", (name) => {
  it("shows the text on the phone and reports its delivery", async () => {
    const { gateway, phone, reports } = await startGatewaySandbox(name);
    const sms = smsTo("+254712345600", 'Habari! {code} = 50% & "more"');
    const result = await gateway.send(sms, never);
    expect(result.status).toBe("sent");
    expect(phone.sms("0712345600")).toMatchObject([{ text: sms.text, from: expect.stringMatching(/^[A-Z]+$/) }]);
    await vi.waitUntil(() => reports.length > 0, { timeout: 10_000 });
    const of = name === "http" ? { id: sms.id } : { reference: "reference" in result ? result.reference : "" };
    expect(reports).toEqual([{ of, status: "delivered" }]);
  });

  it("refuses 30, reports 32 as failed without showing it, and gives 31 no answer", async () => {
    const { gateway, phone, reports } = await startGatewaySandbox(name);
    expect(await gateway.send(smsTo("+254712345630"), never)).toMatchObject({ status: "refused", isPermanent: true });
    expect(await gateway.send(smsTo("+254712345632"), never)).toMatchObject({ status: "sent" });
    const given = new AbortController();
    const lost = gateway.send(smsTo("+254712345631"), given.signal);
    await vi.waitUntil(() => phone.sms("0712345631").length > 0);
    given.abort();
    expect(await lost).toMatchObject({ status: "unknown" });
    expect([phone.sms("0712345630"), phone.sms("0712345632")]).toEqual([[], []]);
    await vi.waitUntil(() => reports.length > 0, { timeout: 10_000 });
    expect(reports).toMatchObject([{ status: "failed" }]);
  });

  it("refuses a client with another key", async () => {
    const { stranger, phone } = await startGatewaySandbox(name);
    expect(resultText(await stranger.send(smsTo("+254712345600"), never))).toMatch(/^refused: /);
    expect(phone.sms("0712345600")).toEqual([]);
  });

  it("refuses a number that is none", async () => {
    const { gateway } = await startGatewaySandbox(name);
    expect(await gateway.send(smsTo("+12"), never)).toMatchObject({ status: "refused" });
  });
});

describe("the sandbox of beem", () => {
  it("refuses characters outside the GSM alphabet", async () => {
    const { gateway } = await startGatewaySandbox("beem");
    expect(resultText(await gateway.send(smsTo("+255712345600", "আশা"), never))).toBe(
      "refused for good: code 110: special characters",
    );
  });
});
