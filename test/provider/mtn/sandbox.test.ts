import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox, type TestSandbox } from "../../support/sandbox.ts";

const account = testAccount("mtn");
const basic = `Basic ${Buffer.from(`${account.API_USER}:${account.API_KEY}`).toString("base64")}`;
const key = { "ocp-apim-subscription-key": account.SUBSCRIPTION_KEY };

interface Answer {
  status: number;
  /** "" without a body. */
  body: unknown;
}

async function call(url: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(url, init);
  const text = await response.text();
  return { status: response.status, body: text && JSON.parse(text) };
}

/** A documented reply, as status and body. */
function reply(name: string): Answer {
  const { status = 200, body, text } = fixture("mtn", name);
  return { status, body: text ?? body };
}

const fetchToken = ({ url }: TestSandbox, headers: Record<string, string> = {}): Promise<Answer> =>
  call(`${url}/collection/token/`, { method: "POST", headers: { ...key, authorization: basic, ...headers } });

interface Ground extends TestSandbox {
  headers: Record<string, string>;
  /** Sends a request to pay with these headers and fields beside the usual ones. */
  request(headers?: Record<string, string>, fields?: object): Promise<Answer>;
  /** Queries the status. */
  status(reference: string): Promise<Answer>;
  promptOf(phone?: string): string;
}

async function start(options: Parameters<typeof startSandbox>[1] = {}): Promise<Ground> {
  const sandbox = await startSandbox("mtn", options);
  const { body: token } = await fetchToken(sandbox);
  const { access_token } = token as { access_token: string };
  const headers = { ...key, authorization: `Bearer ${access_token}`, "x-target-environment": "sandbox" };
  const base = `${sandbox.url}/collection/v1_0/requesttopay`;
  return {
    ...sandbox,
    headers,
    request: (other = {}, fields = {}) =>
      call(base, {
        method: "POST",
        headers: {
          ...headers,
          "content-type": "application/json",
          "x-reference-id": randomUUID(),
          "x-callback-url": sandbox.hookUrl.href,
          ...other,
        },
        body: JSON.stringify({ ...body, ...fields }),
      }),
    status: (reference) => call(`${base}/${reference}`, { headers }),
    promptOf(phone = msisdn) {
      const [prompt] = sandbox.phone.prompts(phone);
      return prompt?.id ?? expect.unreachable("no prompt");
    },
  };
}

const { status: _, ...body } = fixture("mtn", "status-pending").body;
const msisdn = "256771234500";
const payer = (partyId: string): object => ({ payer: { partyIdType: "MSISDN", partyId } });

describe("tokens", () => {
  test("are issued to the account, with their lifetime", async () => {
    const sandbox = await startSandbox("mtn");
    const { status, body: token } = await fetchToken(sandbox);
    const sample = reply("token");
    expect({ status, body: token }).toEqual({
      ...sample,
      body: { access_token: expect.any(String), token_type: expect.any(String), expires_in: 3_600 },
    });
  });

  test("are issued only for a POST with its length", async () => {
    const sandbox = await startSandbox("mtn");
    const { hostname, port, pathname } = new URL(`${sandbox.url}/collection/token/`);
    const socket = connect(Number(port), hostname);
    const lines = [`POST ${pathname} HTTP/1.1`, `Host: ${hostname}`, `Authorization: ${basic}`];
    socket.write(`${[...lines, `Ocp-Apim-Subscription-Key: ${account.SUBSCRIPTION_KEY}`].join("\r\n")}\r\n\r\n`);
    const [answer] = await once(socket, "data");
    socket.destroy();
    expect(String(answer)).toMatch(/^HTTP\/1\.1 411 /);
  });

  test("are refused without the account or the subscription key", async () => {
    const sandbox = await startSandbox("mtn");
    expect(await fetchToken(sandbox, { authorization: "Basic x" })).toEqual({ status: 401, body: "" });
    expect(await fetchToken(sandbox, { "ocp-apim-subscription-key": "x" })).toEqual({ status: 401, body: "" });
  });

  test("expire", async () => {
    let now = new Date("2026-11-20T21:00:00Z");
    const { request } = await start({ now: () => now });
    expect(await request()).toEqual(reply("request-accepted"));
    now = new Date("2026-11-20T22:00:00Z");
    expect(await request()).toEqual({ status: 401, body: "" });
  });
});

describe("request to pay", () => {
  test("is accepted without a body, and prompts the payer's phone", async () => {
    const { request, phone } = await start();
    expect(await request()).toEqual(reply("request-accepted"));
    expect(phone.prompts(msisdn)).toMatchObject([
      { id: expect.any(String), provider: "mtn", phone: `+${msisdn}`, amountMinor: 5_000, currency: "UGX" },
    ]);
  });

  test("has an amount in the currency's minor unit", async () => {
    const { request, phone } = await start();
    await request({}, { amount: "50.5", currency: "EUR" });
    expect(phone.prompts(msisdn)).toMatchObject([{ amountMinor: 5_050, currency: "EUR" }]);
    expect(await request({}, { amount: "50.5" })).toEqual(reply("error-bad-request"));
  });

  test("is refused if its reference was used before", async () => {
    const { request, phone } = await start();
    const reference = { "x-reference-id": randomUUID() };
    expect(await request(reference)).toEqual(reply("request-accepted"));
    expect(await request(reference)).toEqual(reply("error-repeated-reference"));
    expect(phone.prompts(msisdn)).toHaveLength(1);
  });

  test.each([
    ["a reference of version 7", { "x-reference-id": "0199f2c4-0000-7000-8000-000000000001" }, {}, "error-bad-request"],
    ["another environment", { "x-target-environment": "mtnuganda" }, {}, "error-target-environment"],
    ["a currency that is not its own", {}, { currency: "KES" }, "error-currency"],
    ["an amount that is a number", {}, { amount: 5_000 }, "error-bad-request"],
    ["nothing to pay", {}, { amount: "0" }, "error-bad-request"],
    ["a phone with a plus", {}, payer(`+${msisdn}`), "error-bad-request"],
    ["a phone that MTN is down for", {}, payer("256771234512"), "error-unavailable"],
  ])("is refused with %s", async (_what, headers: Record<string, string>, fields, name) => {
    const { request, phone } = await start();
    expect(await request(headers, fields)).toEqual(reply(name));
    expect(phone.prompts(msisdn)).toEqual([]);
  });

  test("is refused if it is not JSON", async () => {
    const { url, headers } = await start();
    const init = { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: "{" };
    expect(await call(`${url}/collection/v1_0/requesttopay`, init)).toEqual(reply("error-bad-request"));
  });
});

describe("status", () => {
  test("is not found at the first query, and then pending", async () => {
    const { request, status } = await start();
    const reference = randomUUID();
    await request({ "x-reference-id": reference });
    expect(await status(reference)).toEqual(reply("status-not-found"));
    expect(await status(reference)).toEqual(reply("status-pending"));
  });

  test("is not found for an unknown reference", async () => {
    const { status } = await start();
    const reference = randomUUID();
    await status(reference);
    expect(await status(reference)).toEqual(reply("status-not-found"));
  });

  test.each([
    ["approve", "status-successful", "webhook-successful"],
    ["cancel", "status-rejected", "webhook-rejected"],
    ["insufficient_funds", "status-not-enough-funds", undefined],
    ["ignore", "status-expired", undefined],
  ] as const)("has, like the webhook, the documented form after %s", async (answer, sample, callback) => {
    const { request, status, promptOf, phone, nextWebhook } = await start();
    const reference = randomUUID();
    await request({ "x-reference-id": reference });
    await status(reference);
    phone.answer(promptOf(), answer);
    const { method, headers, text } = await nextWebhook();
    expect({ method, type: headers["content-type"] }).toEqual({ method: "PUT", type: "application/json" });
    const number = answer === "approve" && { financialTransactionId: expect.stringMatching(/^\d{10}$/) };
    expect(await status(reference)).toEqual({ status: 200, body: { ...fixture("mtn", sample).body, ...number } });
    if (callback) expect(JSON.parse(text)).toEqual({ ...fixture("mtn", callback).body, ...number });
    else expect(JSON.parse(text)).toMatchObject({ status: "FAILED", reason: expect.any(String) });
  });

  test("states the paid amount", async () => {
    const { request, nextWebhook } = await start();
    await request({}, payer("256771234510"));
    expect(JSON.parse((await nextWebhook()).text)).toMatchObject({ status: "SUCCESSFUL", amount: "5001" });
    await request({}, { amount: "50.5", currency: "EUR", ...payer("256771234510") });
    expect(JSON.parse((await nextWebhook()).text)).toMatchObject({ status: "SUCCESSFUL", amount: "51.50" });
  });

  test("is available without a webhook URL", async () => {
    const { url, headers, status, phone, promptOf, ...sandbox } = await start();
    const reference = randomUUID();
    await call(`${url}/collection/v1_0/requesttopay`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json", "x-reference-id": reference },
      body: JSON.stringify(body),
    });
    await status(reference);
    phone.answer(promptOf(), "approve");
    await expect.poll(async () => ((await status(reference)).body as { status: string }).status).toBe("SUCCESSFUL");
    expect(sandbox.waiting).toBe(0);
  });
});
