import { describe, expect, it } from "vitest";
import { createAccess } from "../../server/auth/access.ts";
import { createWatchTokens } from "../../server/auth/watch-token.ts";
import type { HubError } from "../../server/errors.ts";
import { createKeyRing } from "../../server/key/ring.ts";
import { createMemoryCounter } from "../../server/rate-limit.ts";

const apiKey = "a-key-of-the-merchant";
const tokens = createWatchTokens(["a secret of more than thirty-two characters"], 60);
const ring = createKeyRing({
  apiKeys: [apiKey],
  database: { connectAlone: () => Promise.reject(new Error("no database")) },
  onError: () => undefined,
  onRecovered: () => undefined,
});
const access = createAccess({
  ring,
  tokens,
  query: { idOf: async () => undefined },
  cookie: {},
  counter: createMemoryCounter(),
});
const { watchToken } = tokens.issue({ id: "0199f2c4-1234-7abc-8def-0123456789ab", orderId: "ORD-1001" });

const send = 'Send "Authorization: Bearer <API key>"';

function refusal(headers: Record<string, string>, query = {}): HubError | undefined {
  try {
    access.requireKey({ method: "POST", headers, query }, "pay");
  } catch (error) {
    return error as HubError;
  }
  return undefined;
}

describe("a route of the merchant", () => {
  it.each<[string, Record<string, string>, object, string]>([
    ["no credential", {}, {}, `The header Authorization is missing. ${send}`],
    ["an empty header", { authorization: "" }, {}, `The header Authorization is missing. ${send}`],
    ["a key alone", { authorization: apiKey }, {}, `The word Bearer is missing before the API key. ${send}`],
    ["a wrong key alone", { authorization: "another" }, {}, `The header Authorization has no Bearer. ${send}`],
    ["Basic", { authorization: "Basic dTpw" }, {}, `The scheme Basic is not accepted. ${send}`],
    ["Bearer without a key", { authorization: "Bearer" }, {}, `The API key after Bearer is missing. ${send}`],
    ["a key with a space", { authorization: `Bearer ${apiKey} x` }, {}, `The API key must not contain spaces. ${send}`],
    ["X-API-Key", { "x-api-key": apiKey }, {}, `The header X-API-Key is not read. ${send}`],
    ["a key in the URL", {}, { token: apiKey }, `An API key in the URL is not accepted here. ${send}`],
    ["a watch token", { authorization: `Bearer ${watchToken}` }, {}, `A watch token opens only its order. ${send}`],
    ["another key", { authorization: "Bearer another" }, {}, `The API key is wrong. ${send}`],
  ])("refuses %s and says what to send", (_name, headers, query, detail) => {
    expect(refusal(headers, query)).toMatchObject({ code: "key_invalid", message: detail });
  });

  it("accepts the API key, whatever the case of Bearer", () => {
    expect(refusal({ authorization: `bearer ${apiKey}` })).toBeUndefined();
  });
});
