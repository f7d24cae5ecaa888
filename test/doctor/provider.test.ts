/** What the doctor says about providers that refuse, hang or answer garbage. */
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { ProviderName } from "../../server/provider/registry.ts";
import { createDatabase } from "../support/database.ts";
import { examine, type Finding, findingOf } from "../support/doctor.ts";
import { startNode } from "../support/node.ts";
import {
  providerEnv,
  type Respond,
  type ScriptedProvider,
  startScriptedProvider,
} from "../support/scripted-provider.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

async function check(
  name: ProviderName,
  respond: Respond,
  env: Record<string, string> = {},
): Promise<{ found: Finding; script: ScriptedProvider }> {
  const script = await startScriptedProvider(respond);
  const node = await startNode({ databaseUrl, env: { ...providerEnv(name, script.url), ...env } });
  return { found: findingOf(await examine(node), `provider.${name}`), script };
}

const tokenOf = (token: string) => ({ access_token: token, expires_in: "3599" });

describe("the check of a provider's account", () => {
  it.each<[ProviderName, number, object, string, string]>([
    // The portal's error 400.008.01 (Safaricom portal, "Authorization").
    [
      "daraja",
      400,
      {
        requestId: "1c5b-4ba8-815c-ac45c57a3db01495926",
        errorCode: "400.008.01",
        errorMessage: "Invalid Authentication passed",
      },
      '{"errorCode":"400.008.01","errorMessage":"Invalid Authentication passed"}',
      "DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET",
    ],
    // @lipana/sdk 1.0.3.
    [
      "lipana",
      401,
      { success: false, message: "Invalid API key", code: "AUTHENTICATION_FAILED" },
      '{"message":"Invalid API key","code":"AUTHENTICATION_FAILED"}',
      "LIPANA_SECRET_KEY",
    ],
    // The error of ZenoPay's sample code.
    [
      "zenopay",
      403,
      { status: "error", message: "Invalid API key" },
      '{"message":"Invalid API key"}',
      "ZENOPAY_API_KEY",
    ],
    // developer.bka.sh, "Error Codes"; with HTTP 200.
    [
      "bkash",
      401,
      { message: "Unauthorized" },
      '{"message":"Unauthorized"}',
      "BKASH_USERNAME, BKASH_PASSWORD, BKASH_APP_KEY and BKASH_APP_SECRET",
    ],
    [
      "mtn",
      401,
      { statusCode: 401, message: "Access denied due to invalid subscription key." },
      '{"statusCode":401,"message":"Access denied due to invalid subscription key."}',
      "MTN_SUBSCRIPTION_KEY, MTN_API_USER and MTN_API_KEY",
    ],
    [
      "payhero",
      401,
      { error_code: 401, error_message: "invalid credentials" },
      '{"error_code":401,"error_message":"invalid credentials"}',
      "PAYHERO_USERNAME, PAYHERO_PASSWORD and PAYHERO_AUTH",
    ],
  ])("shows the words with which %s refuses, and names the variables", async (name, status, body, words, variables) => {
    const { found } = await check(name, () => ({ status, body }));
    expect(found.status).toBe("error");
    expect(found.message).toContain(`refuses the credentials: it answered HTTP ${status} with ${words}.`);
    expect(found.action).toContain(variables);
  });

  it("masks credentials and phones in the words, and cuts them", async () => {
    let sent: string[] = [];
    const { found } = await check("daraja", ({ headers }) => {
      const basic = Buffer.from(headers.authorization?.replace("Basic ", "") ?? "", "base64").toString();
      sent = [headers.authorization ?? "", ...basic.split(":")];
      return { status: 401, body: { errorMessage: `Wrong ${sent.join(" ")} +254712345678 ${"words ".repeat(500)}` } };
    });
    expect(sent).toHaveLength(3);
    expect(found.message).toContain("Wrong");
    for (const secret of [...sent, "712345678"]) expect(found.message).not.toContain(secret);
    expect(found.message.length).toBeLessThan(500);
  });

  it("reports a provider that breaks the connection, and one that is not there", async () => {
    const { found } = await check("daraja", () => "drop");
    expect(found).toMatchObject({ status: "error", message: expect.stringContaining("broke the connection") });
    const { found: gone } = await check("daraja", () => "drop", { DARAJA_BASE_URL: "http://127.0.0.1:1" });
    expect(gone).toMatchObject({
      status: "error",
      message: expect.stringContaining("cannot be reached: ECONNREFUSED"),
      action: expect.stringContaining("127.0.0.1:1"),
    });
  });

  it.each<[string, Respond]>([
    ["HTML", () => ({ text: "<html>Sign in to the hotel's WiFi</html>", headers: { "content-type": "text/html" } })],
    ["JSON of something else", () => ({ body: { hello: "world" } })],
    ["half an answer", () => ({ text: '{"access_token":"abc' })],
  ])("reports an address that answers with %s", async (_what, respond) => {
    for (const name of ["daraja", "mtn"] as const) {
      const { found, script } = await check(name, respond);
      expect(found).toMatchObject({ status: "error", message: expect.stringContaining("answered as no API does") });
      expect(found.action).toContain(`${name.toUpperCase()}_BASE_URL (now ${script.url})`);
    }
  });

  it("says that a failing or busy provider refuses nobody's credentials", async () => {
    const { found: failing } = await check("daraja", () => ({ status: 503, text: "" }));
    expect(failing).toMatchObject({ status: "error", message: expect.stringContaining("does not work now") });
    const { found: busy } = await check("lipana", () => ({ status: 429, body: { code: "RATE_LIMIT_EXCEEDED" } }));
    expect(busy).toMatchObject({ status: "warning", message: expect.stringContaining("takes no more calls now") });
  });

  it("fetches a token although the stored one is valid, but not again within a minute", async () => {
    let issued = 0;
    const script = await startScriptedProvider(() => {
      issued += 1;
      return { body: tokenOf(`token-${issued}`) };
    });
    const env = providerEnv("daraja", script.url);
    const first = await startNode({ databaseUrl, env });
    expect(findingOf(await examine(first), "provider.daraja")).toMatchObject({
      status: "ok",
      message: expect.stringMatching(
        /^daraja \(M-Pesa\) issued an access token now, valid until \d\d:\d\d:\d\d UTC\.$/,
      ),
    });
    // Another node has the token in the database.
    const second = await startNode({ databaseUrl, env });
    expect(findingOf(await examine(second), "provider.daraja").message).toContain("issued an access token now");
    await examine(second);
    expect(issued).toBe(2);
  });

  it("uses up no token call of bKash while a token is stored, and checks that token instead", async () => {
    const tokenCall = { statusCode: "0000", id_token: "token-1", expires_in: 3600, refresh_token: "refresh" };
    const { found, script } = await check("bkash", ({ path }) => ({
      body: path.includes("/token/") ? tokenCall : { statusCode: "2054", statusMessage: "Payment ID is invalid" },
    }));
    expect(found).toMatchObject({ status: "ok", message: expect.stringContaining("issued an access token now") });
    const node = await startNode({ databaseUrl, env: providerEnv("bkash", script.url) });
    const { message } = findingOf(await examine(node), "provider.bkash");
    expect(message).toContain("accepts the stored access token");
    expect(script.calls.map(({ path }) => path)).toEqual([
      "/tokenized/checkout/token/grant",
      "/tokenized/checkout/payment/status",
    ]);
  });

  it("names the sandbox, and in production what to change", async () => {
    // Its own database, because the tests above have used up bKash's token calls.
    const { url: own, drop } = await createDatabase();
    onTestFinished(drop);
    const node = await startNode({ databaseUrl: own, env: { SANDBOX: "daraja,payhero,lipana,zenopay,bkash,mtn" } });
    const report = await examine(node);
    for (const name of ["daraja", "payhero", "lipana", "zenopay", "bkash", "mtn"]) {
      const found = findingOf(report, `provider.${name}`);
      expect(found, found.message).toMatchObject({ status: "ok" });
      expect(found.message).toMatch(/^The built-in sandbox answers in place of .+ and moves no money\. It /);
    }
    const production = await startNode({
      databaseUrl,
      env: { NODE_ENV: "production", SANDBOX: "daraja", PUBLIC_URL: "https://pay.example", DATABASE_URL: databaseUrl },
    });
    expect(findingOf(await examine(production), "provider.daraja")).toMatchObject({
      status: "warning",
      action: expect.stringContaining("remove daraja from SANDBOX and set DARAJA_CONSUMER_KEY"),
    });
  });
});
