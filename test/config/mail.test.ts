import { describe, expect, it } from "vitest";
import { ConfigError, readConfig } from "../../server/config/config.ts";

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

const smtp = { SMTP_URL: "smtps://user:p%40ss@mail.example.com", MAIL_FROM: "Asha's Books <shop@example.com>" };

const zenopay = { ZENOPAY_API_KEY: "key" };

describe("the configuration of mail", () => {
  it("is absent by default", () => {
    const { mail, merchantEmail } = readConfig({ SMTP_URL: "", MAIL_FROM: "" });
    expect([mail, merchantEmail]).toEqual([undefined, undefined]);
  });

  it("has the server, the login and the sender", () => {
    expect(readConfig({ ...smtp, MERCHANT_EMAIL: "owner@example.com" })).toMatchObject({
      mail: {
        smtp: {
          host: "mail.example.com",
          port: 465,
          secure: true,
          requireTLS: false,
          auth: { user: "user", pass: "p@ss" },
        },
        from: { name: "Asha's Books", address: "shop@example.com" },
      },
      merchantEmail: "owner@example.com",
    });
  });

  it.each([
    ["smtp://mail.example.com", { port: 587, secure: false, requireTLS: true }],
    ["smtp://mail.example.com:2525/", { port: 2_525, secure: false, requireTLS: true }],
    ["smtp://127.0.0.1:25", { port: 25, secure: false, requireTLS: false }],
    ["smtp://mail.internal", { port: 587, secure: false, requireTLS: false }],
    ["smtps://[::1]", { host: "::1", port: 465, secure: true }],
  ])("reads %s", (url, expected) => {
    expect(readConfig({ ...smtp, SMTP_URL: url }).mail?.smtp).toMatchObject(expected);
  });

  it.each(["shop@example.com", "<shop@example.com>", '"Asha, Books" <shop@example.com>'])(
    "accepts the sender %s",
    (from) => {
      expect(readConfig({ ...smtp, MAIL_FROM: from }).mail?.from.address).toBe("shop@example.com");
    },
  );

  it.each<[Record<string, string>, string[]]>([
    [{ SMTP_URL: smtp.SMTP_URL }, ["MAIL_FROM: is needed beside SMTP_URL"]],
    [{ MAIL_FROM: smtp.MAIL_FROM }, ["SMTP_URL: is needed beside MAIL_FROM"]],
    [{ ...zenopay, MERCHANT_EMAIL: "owner@example.com" }, ["SMTP_URL: is needed beside MERCHANT_EMAIL"]],
    [{ MERCHANT_EMAIL: "owner@example.com" }, []],
    [{ MERCHANT_EMAIL: "owner" }, ["MERCHANT_EMAIL: must be one address"]],
    [{ MERCHANT_EMAIL: "a@example.com, b@example.com" }, ["MERCHANT_EMAIL: must be one address"]],
    ...[
      "https://mail.example.com",
      "mail.example.com",
      "smtp://mail.example.com/path",
      "smtp://u:%zz@mail.example.com",
    ].map((url): [Record<string, string>, string[]] => [
      { ...smtp, SMTP_URL: url },
      ["SMTP_URL: must be an smtp:// or smtps:// URL, such as smtps://user:password@mail.example.com"],
    ]),
    ...["Asha's Books", "Asha <shop>", "shop@example.com, b@example.com", "A\nBcc: <shop@example.com>"].map(
      (from): [Record<string, string>, string[]] => [
        { ...smtp, MAIL_FROM: from },
        ["MAIL_FROM: must be an address, such as Asha's Books <shop@example.com>"],
      ],
    ),
  ])("refuses a part of it, and what cannot be used: %o", (env, problems) => {
    expect(problemsOf(env)).toEqual(problems);
  });
});
