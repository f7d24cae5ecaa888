import { describe, expect, it } from "vitest";
import { ConfigError, readConfig } from "../../server/config/config.ts";
import { reachOf } from "../../server/config/host.ts";
import { warnOf } from "../../server/config/warning.ts";
import { providerNames } from "../../server/provider/registry.ts";
import { providerEnv } from "../support/scripted-provider.ts";

const daraja = {
  DARAJA_CONSUMER_KEY: "key",
  DARAJA_CONSUMER_SECRET: "secret",
  DARAJA_SHORTCODE: "174379",
  DARAJA_PASSKEY: "pass",
};
const production = {
  NODE_ENV: "production",
  DATABASE_URL: "postgres://tukio@db/tukio",
  TUKIO_API_KEY: "an-api-key-of-some-length",
  TUKIO_SECRET: "a secret of more than thirty-two characters",
  PUBLIC_URL: "https://pay.example.com/",
};

const enabledOf = (env: Record<string, string>) => readConfig(env).enabledProviders;

/** The names of the providers that are the sandbox. */
const sandboxOf = (env: Record<string, string>): string[] =>
  enabledOf(env).flatMap(({ name, sandbox }) => (sandbox ? [name] : []));

const refusal = (env: Record<string, string>): string => {
  try {
    readConfig(env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error("the environment was accepted");
};

/** The details of the warnings at start. */
function warningsOf(env: Record<string, string>): unknown[] {
  const warnings: unknown[] = [];
  warnOf(readConfig(env), { warn: (details) => warnings.push(details) });
  return warnings;
}

describe("readConfig", () => {
  it("needs no variable in development: loopback, the sandbox, any origin", () => {
    expect(readConfig({})).toMatchObject({
      port: 3_000,
      host: "127.0.0.1",
      dataDir: ".tukio",
      allowedOrigins: "any",
      watchTokenTtlS: 86_400,
    });
    expect(sandboxOf({})).toEqual(providerNames);
    // The payments' phone numbers decide.
    expect(enabledOf({}).map(({ deadlineS }) => deadlineS)).toEqual(providerNames.map(() => undefined));
  });

  it("treats an empty variable as unset", () => {
    expect(readConfig({ PORT: "", DATABASE_URL: "", LOG_LEVEL: "" })).toMatchObject({ port: 3_000, logLevel: "info" });
  });

  it("reads localhost as 127.0.0.1, because a second server would count connections separately", () => {
    expect(readConfig({ HOST: "localhost" }).host).toBe("127.0.0.1");
  });

  it("enables no sandbox by default in production, off loopback, or with credentials", () => {
    expect(sandboxOf(production)).toEqual([]);
    expect(sandboxOf({ HOST: "0.0.0.0" })).toEqual([]);
    expect(sandboxOf({ HOST: "192.0.2.1" })).toEqual([]);
    expect(sandboxOf(daraja)).toEqual([]);
    expect(sandboxOf({ SANDBOX: "" })).toEqual([]);
    expect(sandboxOf({ ...daraja, SANDBOX: "daraja" })).toEqual(["daraja"]);
    for (const HOST of ["localhost", "127.0.0.2", "::1"]) expect(sandboxOf({ HOST })).toEqual(providerNames);
  });

  it("refuses a loopback PUBLIC_URL beside a live provider in production, because its webhooks cannot arrive", () => {
    for (const host of ["localhost", "127.0.0.2:3000", "[::1]", "pay.localhost", "0.0.0.0", "a.localhost."]) {
      const env = { ...production, ...daraja, PUBLIC_URL: `https://${host}/hub` };
      expect(refusal(env)).toContain("PUBLIC_URL: must not be this machine's own address, because daraja cannot");
      for (const DARAJA_BASE_URL of ["http://127.0.0.1:8080", "https://sandbox.safaricom.co.ke"]) {
        expect(readConfig({ ...env, DARAJA_BASE_URL }).publicUrl).toBe(`https://${host}/hub`);
      }
      expect(readConfig({ ...env, NODE_ENV: "development" }).publicUrl).toBe(`https://${host}/hub`);
    }
    expect(readConfig({ ...production, SANDBOX: "daraja", PUBLIC_URL: "https://localhost" }).isProduction).toBe(true);
  });

  it.each([
    ...["localhost", "localhost.", "LocalHost.:8443", "a.localhost.", "ip6-localhost", "ip6-loopback", "localhost4"],
    ...["localhost.localdomain", "localhost6.localdomain6", "127.1", "0x7f.1", "0.0.0.1", "0", "[::]", "[::1]"],
    ...["[::ffff:0.0.0.0]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "%6cocalhost"],
  ])("knows that https://%s is this machine", (host) => {
    expect(reachOf(`https://${host}/hub`)).toBe("own");
    expect(refusal({ ...production, ...daraja, PUBLIC_URL: `https://${host}/hub` })).toContain("this machine's own");
  });

  it.each([
    ...[
      "10.0.0.5",
      "172.16.0.1",
      "172.31.255.255",
      "192.168.1.4",
      "169.254.1.1",
      "100.64.0.1",
      "[fc00::1]",
      "[fd12::1]",
    ],
    ...["[fe80::1]", "[::ffff:192.168.1.4]", "[::10.0.0.1]", "hub", "hub.", "hub.local", "hub.internal"],
    ...["host.docker.internal", "hub.lan", "hub.home.arpa"],
  ])("warns that https://%s is on a private network", (host) => {
    expect(warningsOf({ ...production, ...daraja, PUBLIC_URL: `https://${host}` })).toEqual([
      { event: "config.public_url.private", providers: ["daraja"], publicUrl: expect.any(String) },
    ]);
    expect(warningsOf({ ...production, SANDBOX: "daraja", PUBLIC_URL: `https://${host}` })).toEqual([]);
  });

  it.each([
    "pay.example.com",
    "pay.example.com.",
    "localhost.example.com",
    "172.32.0.1",
    "100.128.0.1",
    "[2001:db8::1]",
  ])("takes https://%s as public", (host) => {
    expect(warningsOf({ ...production, ...daraja, PUBLIC_URL: `https://${host}` })).toEqual([]);
  });

  it("reads what payers see of the shop", () => {
    const shop = {
      SHOP_NAME: " Asha’s Books ",
      SHOP_LOGO_URL: "https://shop.example.com/logo.svg",
      SHOP_COLOUR: "#0A6b4f",
      SHOP_CONTACT: "+254 712 345 678",
    };
    expect(readConfig(shop).shop).toEqual({
      name: "Asha’s Books",
      logoUrl: "https://shop.example.com/logo.svg",
      colour: "#0A6b4f",
      contact: "+254 712 345 678",
    });
    expect(readConfig({ SHOP_NAME: "" }).shop).toEqual({});
  });

  it.each([
    { SHOP_NAME: "x".repeat(61) },
    { SHOP_NAME: "two\nlines" },
    { SHOP_LOGO_URL: "ftp://shop.example.com/logo.svg" },
    { SHOP_LOGO_URL: "logo.svg" },
    { SHOP_LOGO_URL: "https://user:password@shop.example.com/logo.svg" },
    { SHOP_COLOUR: "green" },
    { SHOP_COLOUR: "#fff" },
    { SHOP_CONTACT: "x".repeat(121) },
    { LIMIT_PAGE_PHONE: "0" },
    { ...production, SHOP_LOGO_URL: "http://shop.example.com/logo.svg" },
  ])("refuses %j", (env) => {
    expect(refusal(env)).toContain(Object.keys(env).at(-1));
  });

  it("reads base URLs in any case, and refuses those to which no path can be added", () => {
    expect(readConfig({ ...production, PUBLIC_URL: "HTTPS://Pay.Example.com:443/Hub//" }).publicUrl).toBe(
      "https://pay.example.com/Hub",
    );
    for (const [variable, account] of [
      ["PUBLIC_URL", {}],
      ["DARAJA_BASE_URL", daraja],
    ] as const) {
      const refused = (url: string) => refusal({ ...production, ...account, [variable]: url });
      for (const end of ["?x=1", "?", "#f", "/hub?", "/#"]) {
        expect(refused(`https://pay.example.com${end}`)).toContain(`${variable}: must have no query`);
      }
      for (const user of ["user:pw", "user", ":pw"]) {
        expect(refused(`https://${user}@pay.example.com`)).toContain(`${variable}: must have no user`);
      }
    }
  });

  it("warns of test credentials at a live address, and of live ones at a test address", () => {
    const mode = (providers: string[]) => (providers.length > 0 ? [{ event: "config.account.mode", providers }] : []);
    const lipana = (key: string) => ({ LIPANA_SECRET_KEY: `lip_sk_${key}_1`, LIPANA_WEBHOOK_SECRET: "secret" });
    const mtn = (environment: string) => ({
      ...providerEnv("mtn", ""),
      MTN_TARGET_ENVIRONMENT: environment,
      MTN_CURRENCY: environment === "sandbox" ? "EUR" : "UGX",
    });
    const [lipanaTest, mtnTest] = ["https://api-sandbox.lipana.dev./v1", "https://sandbox.momodeveloper.mtn.com"];
    const own = "http://127.0.0.1:8080";
    const cases: [Record<string, string>, string[]][] = [
      [lipana("test"), ["lipana"]],
      [lipana("live"), []],
      [{ ...lipana("test"), LIPANA_BASE_URL: lipanaTest }, []],
      [{ ...lipana("live"), LIPANA_BASE_URL: lipanaTest }, ["lipana"]],
      [{ ...lipana("test"), LIPANA_BASE_URL: own }, []],
      [mtn("sandbox"), ["mtn"]],
      [mtn("mtnuganda"), []],
      [{ ...mtn("sandbox"), MTN_BASE_URL: mtnTest }, []],
      [{ ...mtn("mtnuganda"), MTN_BASE_URL: mtnTest }, ["mtn"]],
      [{ ...mtn("sandbox"), SANDBOX: "mtn" }, []],
      [daraja, []],
    ];
    for (const [env, names] of cases)
      expect(warningsOf({ ...production, ...env }), JSON.stringify(env)).toEqual(mode(names));
  });

  it("recognizes each provider's own test environment by its host", () => {
    const isTestHost = (env: Record<string, string>) => enabledOf(env).map((one) => one.isTestHost);
    const accounts: [string, Record<string, string>][] = [
      ["https://sandbox.safaricom.co.ke/", daraja],
      ["https://SANDBOX.safaricom.co.ke.", daraja],
      ["https://tokenized.sandbox.bka.sh/v1.2.0-beta", providerEnv("bkash", "")],
      ["https://sandbox.momodeveloper.mtn.com", providerEnv("mtn", "")],
      ["https://api-sandbox.lipana.dev/v1", providerEnv("lipana", "")],
    ];
    for (const [url, account] of accounts) {
      const [variable = ""] = Object.keys(account);
      const base = `${variable.split("_")[0]}_BASE_URL`;
      expect(isTestHost({ ...account, [base]: "" })).toEqual([undefined]);
      expect(isTestHost({ ...account, [base]: url })).toEqual([true]);
      expect(isTestHost({ ...account, [base]: "http://127.0.0.1:8080" })).toEqual([undefined]);
    }
  });

  it("requires a database, keys and an https URL in production, and allows no origin", () => {
    expect(readConfig(production)).toMatchObject({
      isProduction: true,
      allowedOrigins: [],
      publicUrl: "https://pay.example.com",
    });
    const message = refusal({ NODE_ENV: "production" });
    for (const name of ["DATABASE_URL", "TUKIO_API_KEY", "TUKIO_SECRET", "PUBLIC_URL"]) expect(message).toContain(name);
    expect(refusal({ ...production, PUBLIC_URL: "http://pay.example.com" })).toContain("PUBLIC_URL: must be https");
  });

  it("enables a provider with all of its credentials, and names missing ones", () => {
    const offered = {
      name: "daraja",
      baseUrl: "https://api.safaricom.co.ke",
      deadlineS: 120,
      create: expect.any(Function),
    };
    expect(enabledOf(daraja)).toEqual([offered]);
    const own = { DARAJA_BASE_URL: "http://127.0.0.1:9/", DARAJA_DEADLINE_S: "30" };
    expect(enabledOf({ ...daraja, ...own })).toEqual([{ ...offered, baseUrl: "http://127.0.0.1:9", deadlineS: 30 }]);
    expect(refusal({ DARAJA_SHORTCODE: "174379", DARAJA_PASSKEY: "x" })).toMatch(
      /DARAJA_CONSUMER_KEY(?:.|\n)*DARAJA_CONSUMER_SECRET/,
    );
  });

  it("enables Lipana with its key and the secret of its webhooks, and not with one of them", () => {
    const lipana = { LIPANA_SECRET_KEY: "lip_sk_live_key", LIPANA_WEBHOOK_SECRET: "secret" };
    const offered = { name: "lipana", baseUrl: "https://api.lipana.dev/v1", deadlineS: 180 };
    expect(enabledOf(lipana)).toEqual([{ ...offered, create: expect.any(Function) }]);
    expect(enabledOf({ ...lipana, LIPANA_WEBHOOK_SECRET: "new, old" })).toHaveLength(1);
    expect(refusal({ ...lipana, LIPANA_WEBHOOK_SECRET: ", " })).toContain("LIPANA_WEBHOOK_SECRET: must have at least");
    expect(refusal({ ...lipana, LIPANA_WEBHOOK_SECRET: "" })).toContain("LIPANA_WEBHOOK_SECRET: is needed");
    expect(refusal({ ...lipana, LIPANA_SECRET_KEY: "" })).toContain("LIPANA_SECRET_KEY: is needed");
    expect(refusal({ ...lipana, LIPANA_SECRET_KEY: "two words" })).toContain("LIPANA_SECRET_KEY: must be visible");
  });

  it("enables bKash with its credentials, with or without the topic of its notifications", () => {
    const account = { BKASH_USERNAME: "u", BKASH_PASSWORD: "p", BKASH_APP_KEY: "k", BKASH_APP_SECRET: "s" };
    const offered = {
      name: "bkash",
      baseUrl: "https://tokenized.pay.bka.sh/v1.2.0-beta",
      deadlineS: 1_800,
      create: expect.any(Function),
    };
    expect(enabledOf(account)).toEqual([offered]);
    const topic = "arn:aws:sns:ap-southeast-1:123456789012:bpt_1";
    expect(enabledOf({ ...account, BKASH_SNS_TOPIC_ARN: topic })).toEqual([offered]);
    expect(refusal({ ...account, BKASH_SNS_TOPIC_ARN: "bpt_1" })).toContain("BKASH_SNS_TOPIC_ARN: must be the ARN");
    expect(refusal({ BKASH_USERNAME: "u" })).toMatch(/BKASH_PASSWORD(?:.|\n)*BKASH_APP_KEY(?:.|\n)*BKASH_APP_SECRET/);
  });

  it("enables PayHero with a pair or a header, and not with both or half of a pair", () => {
    const PAYHERO_CHANNEL_ID = "133";
    const pair = { PAYHERO_USERNAME: "user", PAYHERO_PASSWORD: "pass", PAYHERO_CHANNEL_ID };
    const header = { PAYHERO_AUTH: "Basic dXNlcjpwYXNz", PAYHERO_CHANNEL_ID };
    const offered = { name: "payhero", baseUrl: "https://backend.payhero.co.ke/api/v2", deadlineS: 180 };
    for (const env of [pair, header]) expect(enabledOf(env)).toEqual([{ ...offered, create: expect.any(Function) }]);
    expect(refusal({ ...pair, ...header })).toContain("PAYHERO_AUTH: replaces USERNAME and PASSWORD");
    expect(refusal({ PAYHERO_USERNAME: "user" })).toMatch(
      /PAYHERO_CHANNEL_ID: is needed(?:.|\n)*PAYHERO_PASSWORD: is needed/,
    );
    expect(refusal({ PAYHERO_CHANNEL_ID })).toMatch(/PAYHERO_USERNAME: is needed(?:.|\n)*PAYHERO_PASSWORD: is needed/);
    expect(refusal({ ...pair, PAYHERO_CHANNEL_ID: "till" })).toContain("PAYHERO_CHANNEL_ID: must be digits");
    expect(refusal({ ...header, PAYHERO_AUTH: "user:pass" })).toContain("PAYHERO_AUTH: must be the header's value");
    expect(refusal({ ...pair, PAYHERO_USERNAME: "us:er" })).toContain("PAYHERO_USERNAME: must not have a colon");
  });

  it("enables ZenoPay with its key, which must fit into a header", () => {
    expect(enabledOf({ ZENOPAY_API_KEY: "key" })).toEqual([
      { name: "zenopay", baseUrl: "https://zenoapi.com/api/payments", deadlineS: 300, create: expect.any(Function) },
    ]);
    expect(enabledOf({ ZENOPAY_API_KEY: "new-key, old-key" })).toHaveLength(1);
    for (const keys of ["two words", "key,two words"]) {
      expect(refusal({ ZENOPAY_API_KEY: keys })).toContain("ZENOPAY_API_KEY: must be visible ASCII");
    }
    expect(refusal({ ZENOPAY_API_KEY: "," })).toContain("ZENOPAY_API_KEY: must have at least one key");
  });

  it("enables MTN with all of its variables, and names missing and wrong ones", () => {
    const mtn = {
      MTN_SUBSCRIPTION_KEY: "key",
      MTN_API_USER: "5f0e6b0a-3f0c-4f0e-9d59-6a3c1c6f4a11",
      MTN_API_KEY: "secret",
      MTN_TARGET_ENVIRONMENT: "mtnuganda",
      MTN_CURRENCY: "UGX",
    };
    expect(enabledOf(mtn)).toEqual([
      { name: "mtn", baseUrl: "https://proxy.momoapi.mtn.com", deadlineS: 300, create: expect.any(Function) },
    ]);
    expect(refusal({ ...mtn, MTN_API_USER: "", MTN_CURRENCY: "" })).toMatch(
      /MTN_API_USER: is needed(?:.|\n)*MTN_CURRENCY: is needed/,
    );
    expect(refusal({ ...mtn, MTN_CURRENCY: "ugx" })).toContain("MTN_CURRENCY: must be ISO 4217 codes");
    expect(refusal({ ...mtn, MTN_TARGET_ENVIRONMENT: "Uganda" })).toContain(
      "MTN_TARGET_ENVIRONMENT: must be an environment such as",
    );
  });

  it("reads the limit of queries a minute, and knows the one of Safaricom's own sandbox", () => {
    const daraja = {
      DARAJA_CONSUMER_KEY: "key",
      DARAJA_CONSUMER_SECRET: "secret",
      DARAJA_SHORTCODE: "174379",
      DARAJA_PASSKEY: "passkey",
    };
    const paceOf = (env: Record<string, string>) => enabledOf({ ...daraja, ...env })[0]?.queriesPerMinute;
    expect(paceOf({})).toBeUndefined();
    expect(paceOf({ DARAJA_BASE_URL: "https://sandbox.safaricom.co.ke" })).toBe(5);
    expect(paceOf({ DARAJA_BASE_URL: "https://sandbox.safaricom.co.ke", DARAJA_QUERIES_PER_MINUTE: "7" })).toBe(7);
    expect(paceOf({ DARAJA_QUERIES_PER_MINUTE: "300" })).toBe(300);
    expect(refusal({ ...daraja, DARAJA_QUERIES_PER_MINUTE: "0" })).toContain("DARAJA_QUERIES_PER_MINUTE");
  });

  it.each([
    ["redis://a"],
    ["rediss://u:p@a:1/2"],
    ["redis://a:1,redis://b:2/0"],
    ["rediss://u:p@a:1, rediss://u:p@b, rediss://u:p@[::1]:3"],
    ["redis://a:1,"],
  ])("accepts REDIS_URL as %s", (url) => {
    expect(readConfig({ REDIS_URL: url }).redisUrl).toBe(url);
  });

  it.each([
    ["redis://a, b", "must be a redis://"],
    [",", "must be a redis://"],
    ["redis://a:1,rediss://a:2", "the same protocol"],
    ["redis://:p@a:1,redis://a:2", "the same protocol"],
    ["redis://a:1/1,redis://a:2/1", "no database"],
  ])("refuses REDIS_URL as %s: %s", (url, why) => {
    expect(refusal({ REDIS_URL: url })).toContain(why);
  });

  it("names every wrong variable in one error", () => {
    const message = refusal({
      PORT: "70000",
      PUBLIC_URL: "ftp://x",
      REDIS_URL: "http://x",
      TUKIO_SECRET: "short",
      ALLOWED_ORIGINS: "https://shop.example/path",
      TRUSTED_PROXIES: "10.0.0.0/33",
      SANDBOX: "nosuch",
      LOG_LEVEL: "loud",
      NODE_ENV: "prod",
    });
    for (const name of [
      "PORT",
      "PUBLIC_URL",
      "REDIS_URL",
      "TUKIO_SECRET",
      "ALLOWED_ORIGINS",
      "TRUSTED_PROXIES",
      "SANDBOX",
      "LOG_LEVEL",
      "NODE_ENV",
    ]) {
      expect(message).toContain(`${name}:`);
    }
  });

  it.each(["Production", "prod", " production", "staging"])("refuses NODE_ENV %j", (NODE_ENV) => {
    expect(refusal({ NODE_ENV })).toContain("NODE_ENV: ");
  });

  it.each(["0.0.0.0/0", "::/0", "10.0.0.0/8, 1.2.3.4/00"])(
    "refuses to trust all addresses as proxies: %s",
    (ranges) => {
      expect(refusal({ TRUSTED_PROXIES: ranges })).toContain("TRUSTED_PROXIES: must not trust all addresses (/0)");
      expect(readConfig({ TRUSTED_PROXIES: "10.0.0.0/8, ::1" }).trustedProxies).toEqual(["10.0.0.0/8", "::1"]);
    },
  );

  it("accepts production, development, test and nothing for NODE_ENV", () => {
    for (const NODE_ENV of ["development", "test", ""]) expect(readConfig({ NODE_ENV }).isProduction).toBe(false);
    expect(readConfig(production).isProduction).toBe(true);
  });

  it("accepts several keys and secrets", () => {
    expect(readConfig({ TUKIO_API_KEY: "key-one-is-long-enough, key-two-is-long-enough" }).apiKeys).toHaveLength(2);
  });
});
