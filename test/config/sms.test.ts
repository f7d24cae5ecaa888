import { describe, expect, it } from "vitest";
import { ConfigError, readConfig } from "../../server/config/config.ts";

const africasTalking = { SMS_PROVIDER: "africastalking", SMS_USERNAME: "shop", SMS_API_KEY: "key" };
const beem = { SMS_PROVIDER: "beem", SMS_API_KEY: "key", SMS_API_SECRET: "secret", SMS_FROM: "ASHA" };
const http = { SMS_PROVIDER: "http", SMS_API_KEY: "key", SMS_URL: "https://sms.shop.example/send" };

/** The problems with the environment, one a line. */
function problemsOf(env: Record<string, string>): string[] {
  try {
    readConfig(env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message
      .split("\n")
      .slice(1)
      .map((line) => line.trim());
  }
  return [];
}

describe("the configuration of SMS", () => {
  it("is absent by default", () => {
    expect(readConfig({}).sms).toBeUndefined();
    expect(readConfig({ SMS_PROVIDER: "", SMS_API_KEY: "" }).sms).toBeUndefined();
  });

  it("has the live address of the gateway by default, and that of Africa's Talking's test environment for its user", () => {
    const settings = { provider: "africastalking", username: "shop", apiKey: "key" };
    expect(readConfig(africasTalking).sms).toEqual({ ...settings, url: "https://api.africastalking.com" });
    expect(readConfig({ ...africasTalking, SMS_USERNAME: "sandbox" }).sms?.url).toBe(
      "https://api.sandbox.africastalking.com",
    );
    expect(readConfig({ ...africasTalking, SMS_FROM: "ASHA", SMS_URL: "http://127.0.0.1:9/" }).sms).toEqual({
      ...settings,
      from: "ASHA",
      url: "http://127.0.0.1:9",
    });
    expect(readConfig(beem).sms).toEqual({
      ...{ provider: "beem", apiKey: "key", apiSecret: "secret", from: "ASHA" },
      url: "https://apisms.beem.africa",
    });
    expect(readConfig(http).sms).toEqual({ provider: "http", apiKey: "key", url: "https://sms.shop.example/send" });
  });

  it.each([africasTalking, beem, http])("is complete or an error that names the variable: %j", (env) => {
    for (const missing of Object.keys(env).filter((name) => name !== "SMS_PROVIDER")) {
      const { [missing as keyof typeof env]: _left, ...rest } = env;
      expect(problemsOf(rest)).toEqual([`${missing}: is needed with SMS_PROVIDER=${env.SMS_PROVIDER}`]);
    }
  });

  it.each([
    [{ SMS_API_KEY: "key" }, ["SMS_PROVIDER: is needed beside SMS_API_KEY"]],
    [{ ...http, SMS_PROVIDER: "twilio" }, ["SMS_PROVIDER: must be one of africastalking, beem, http"]],
    [{ ...http, SMS_PROVIDER: "constructor" }, ["SMS_PROVIDER: must be one of africastalking, beem, http"]],
    [{ ...beem, SMS_USERNAME: "shop" }, ["SMS_USERNAME: is no variable of beem"]],
    [{ ...http, SMS_API_SECRET: "s" }, ["SMS_API_SECRET: is no variable of http"]],
    [{ ...http, SMS_URL: "sms" }, ["SMS_URL: must be an http or https URL"]],
    [
      { ...beem, SMS_FROM: "A name that is too long" },
      ["SMS_FROM: must be a name of at most 11 letters and digits, or a number"],
    ],
  ])("refuses %j", (env, problems) => {
    expect(problemsOf(env)).toEqual(problems);
  });

  it("needs https in production", () => {
    const production = {
      NODE_ENV: "production",
      DATABASE_URL: "postgres://tukio@db/tukio",
      TUKIO_API_KEY: "an-api-key-of-some-length",
      TUKIO_SECRET: "a secret of more than thirty-two characters",
      PUBLIC_URL: "https://pay.example.com/",
    };
    expect(problemsOf({ ...production, ...http, SMS_URL: "http://sms.shop.example" })).toEqual([
      "SMS_URL: must be https in production",
    ]);
    expect(problemsOf({ ...production, ...http })).toEqual([]);
  });
});
