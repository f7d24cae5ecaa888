/** The log of tokens that a provider does not issue or no longer accepts. */
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { createClient } from "../../server/provider/http-client.ts";
import { providerText } from "../../server/provider/provider-text.ts";
import { fetchToken } from "../../server/provider/token-client.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, startNode, type TestNode } from "../support/node.ts";
import { providerEnv, startScriptedProvider } from "../support/scripted-provider.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const linesOf = ({ log }: TestNode, event: string): unknown[] =>
  log.map((line) => JSON.parse(line)).filter((line) => line.event === event);

describe("a token call that the provider refuses", () => {
  it.each(["daraja", "bkash", "mtn"] as const)(
    "is logged at %s with status and text, without a secret",
    async (name) => {
      let sent: string[] = [];
      const script = await startScriptedProvider(({ headers, text }) => {
        const basic = Buffer.from(headers.authorization?.replace("Basic ", "") ?? "", "base64").toString();
        sent = [basic, ...basic.split(":"), headers.password, ...text.matchAll(/[0-9a-f]{64}/g)].map(String);
        const message = `Wrong credentials ${sent.join(" ")}, call +254712345678`;
        return { status: 403, body: { errorCode: "400.008.01", errorMessage: message, access_token: "a-token" } };
      });
      const node = await startNode({ databaseUrl, env: providerEnv(name, script.url) });
      expect((await asMerchant(node, `/v1/providers/${name}/token`, {})).status).toBe(503);
      const text = expect.stringMatching(/^\{"errorCode":"400\.008\.01","errorMessage":"Wrong credentials +\*\*\*/);
      expect(linesOf(node, "provider.token.denied")).toMatchObject([{ level: 40, provider: name, status: 403, text }]);
      const log = node.log.join("");
      const secrets = sent.filter((value) => value.length >= 16);
      expect(secrets).not.toEqual([]);
      for (const secret of [...secrets, "254712345678", "a-token"]) expect(log).not.toContain(secret);
    },
  );
});

describe("a token that the provider no longer accepts", () => {
  it("is logged with status and text, without the token", async () => {
    const script = await startScriptedProvider(({ path, headers }) =>
      path.startsWith("/oauth/")
        ? { body: { access_token: "plain.token", expires_in: "3599" } }
        : {
            status: 401,
            body: { errorCode: "404.001.03", errorMessage: `Invalid Access Token ${headers.authorization}` },
          },
    );
    const node = await startNode({ databaseUrl, env: providerEnv("daraja", script.url) });
    const order = {
      amountMinor: 15_000,
      currency: "KES",
      provider: "daraja",
      phone: "+254712345600",
      orderId: "ORD-T",
    };
    const prefer = { prefer: "wait=15" };
    expect((await asMerchant(node, "/v1/payments", order, prefer)).body.order).toMatchObject({ status: "failed" });
    const text = '{"errorCode":"404.001.03","errorMessage":"Invalid Access Token Bearer ***"}';
    expect(linesOf(node, "provider.token.refused")).toMatchObject([{ provider: "daraja", status: 401, text }]);
    expect(node.log.join("")).not.toContain("plain.token");
  });
});

describe("providerText", () => {
  it("has the fields that describe an error, at most 300 characters", () => {
    expect(providerText({ statusCode: "2001", statusMessage: "Invalid App Key", id_token: "x" })).toBe(
      '{"statusCode":"2001","statusMessage":"Invalid App Key"}',
    );
    expect(providerText({ message: "no ".repeat(1_000) })).toHaveLength(300);
    for (const body of [undefined, "text", ["message"], { id: 1 }]) expect(providerText(body)).toBe("");
  });

  it("masks keys, tokens and phone numbers, and keeps codes and words", () => {
    const message =
      "key 0a1b2c3d4e5f60718293 eyJhbGciOiJI.eyJzdWIi.c2ln 254712345678 policies.ratelimit.SpikeArrestViolation";
    expect(providerText({ message })).toBe('{"message":"key *** *** *** policies.ratelimit.SpikeArrestViolation"}');
    for (const opaque of [
      "Ab3dEf9hIj2kLm5nOp",
      "abcdefghijklmnopqrstuvwxyz.ABCD",
      "a1b2c3d4.e5f6g7h8.i9j0",
      "AbCdEfGhIjKlMnOpQrStUvWx",
    ]) {
      expect(providerText({ message: `is ${opaque}, sorry` }), opaque).toMatch(/^\{"message":"is \*\*\*.*, sorry"\}$/);
    }
    const codes = "404.001.03 500.003.1001 Bad Request - Invalid BusinessShortCode";
    expect(providerText({ message: codes })).toBe(JSON.stringify({ message: codes }));
  });

  it("masks a secret in every spelling that a provider may echo", () => {
    const secret = 'Pa"ss\\w/ör d+1';
    const spellings = [
      secret,
      secret.toUpperCase(),
      encodeURIComponent(secret),
      encodeURIComponent(secret).toLowerCase(),
      encodeURIComponent(secret).replaceAll("%20", "+"),
      JSON.stringify(secret),
      JSON.stringify(secret).replaceAll("/", "\\/"),
      JSON.stringify(JSON.stringify(secret)),
    ];
    for (const spelling of spellings) {
      const text = providerText({ message: `got ${spelling}`, error: { [spelling]: [spelling] } }, [secret]);
      expect(text.replaceAll(/[\\"]/g, ""), spelling).toBe("{message:got ***,error:{***:[***]}}");
    }
  });
});

describe("a token call's secrets", () => {
  it("are the values that it sends, and the user and the password of Basic credentials", async () => {
    const basic = Buffer.from("user:a:b:c").toString("base64");
    const message = `no user with a:b:c, ${basic.toUpperCase()}, id 7 or app-key`;
    const script = await startScriptedProvider(() => ({ status: 400, body: { message } }));
    const client = createClient();
    onTestFinished(client.close);
    const headers = { authorization: `basic ${basic}`, "x-id": "7" };
    const call = { client, method: "POST", url: script.url, headers, body: { k: "app-key" } } as const;
    const denied = fetchToken("daraja", { ...call, reply: z.object({ token: z.string() }) });
    await expect(denied).rejects.toMatchObject({ cause: { text: '{"message":"no *** with ***, ***, id 7 or ***"}' } });
  });
});
