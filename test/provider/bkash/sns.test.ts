/** Signatures of Amazon SNS messages, made with a key of the test and verified with its certificate. */
import { generateKeyPairSync, sign } from "node:crypto";
import { describe, expect, it, test } from "vitest";
import { createSnsVerifier, fetchPem, type SnsOptions, signedText } from "../../../server/provider/bkash/sns.ts";
import { fixture } from "../../support/sandbox.ts";
import { startScriptedProvider } from "../../support/scripted-provider.ts";
import { certificateUrl, certify, createSigner } from "../../support/sns.ts";

const signer = createSigner();
const notification = fixture("bkash", "webhook-completed").body;
const subscription = fixture("bkash", "webhook-subscription").body;

/** A verifier that gets this certificate from each URL, and the URLs that it fetched. */
function open(options: SnsOptions & { pem?: string } = {}) {
  const fetched: string[] = [];
  const verify = createSnsVerifier({
    fetchCertificate: async ({ href }) => {
      fetched.push(href);
      return options.pem ?? signer.pem;
    },
    ...options,
  });
  return { verify, fetched };
}

describe("signed text", () => {
  const TopicArn = "arn:aws:sns:us-east-2:123456789012:s4-MySNSTopic-1G1WEFCOXTC0P";

  it("is the text of Amazon's examples", () => {
    const message = {
      Type: "Notification",
      MessageId: "4d4dc071-ddbf-465d-bba8-08f81c89da64",
      TopicArn,
      Subject: "My subject",
      Message: "My Test Message",
      Timestamp: "2019-01-31T04:37:04.321Z",
      UnsubscribeURL: "https://sns.us-east-2.amazonaws.com/?Action=Unsubscribe",
    } as const;
    expect(signedText(message)).toBe(
      `Message\nMy Test Message\nMessageId\n4d4dc071-ddbf-465d-bba8-08f81c89da64\nSubject\nMy subject\nTimestamp\n2019-01-31T04:37:04.321Z\nTopicArn\n${TopicArn}\nType\nNotification\n`,
    );
    const { Subject: _, ...bare } = message;
    expect(signedText(bare)).toBe(signedText(message).replace("Subject\nMy subject\n", ""));
    const SubscribeURL = `https://sns.us-east-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=${TopicArn}&Token=233...`;
    expect(
      signedText({
        Type: "SubscriptionConfirmation",
        MessageId: "3d891288-136d-417f-bc05-901c108273ee",
        Token: "233...",
        TopicArn,
        Message: "My Test Message",
        SubscribeURL,
        Timestamp: "2019-01-31T19:25:13.719Z",
      }),
    ).toBe(
      `Message\nMy Test Message\nMessageId\n3d891288-136d-417f-bc05-901c108273ee\nSubscribeURL\n${SubscribeURL}\nTimestamp\n2019-01-31T19:25:13.719Z\nToken\n233...\nTopicArn\n${TopicArn}\nType\nSubscriptionConfirmation\n`,
    );
  });
});

describe("signature", () => {
  test.each([
    ["1", notification],
    ["2", notification],
    ["1", { ...notification, Subject: "Paid" }],
    ["1", { ...notification, Message: "two\nlines and 150 ৳" }],
    ["1", subscription],
    ["2", subscription],
  ] as const)("is valid in version %s", async (version, message) => {
    expect(await open().verify(signer.sign(message, version))).toBe("signed");
  });

  const signed = signer.sign(notification);
  const confirmation = signer.sign(subscription);

  test.each<[string, object]>([
    ["of another key", createSigner().sign(notification)],
    ["over another message", { ...signed, Message: "{}" }],
    ["over another time", { ...signed, Timestamp: "2026-01-01T00:00:00.000Z" }],
    ["over another topic", { ...signed, TopicArn: "arn:aws:sns:ap-southeast-1:000000000000:other" }],
    ["over a message without a subject", { ...signed, Subject: "Paid" }],
    ["over another address", { ...confirmation, SubscribeURL: "https://sns.ap-southeast-1.amazonaws.com/" }],
    ["over another type", { ...signed, Type: "SubscriptionConfirmation", SubscribeURL: "x", Token: "x" }],
    ["of another version", { ...signed, SignatureVersion: "2" }],
  ])("is invalid with %s", async (_what, message) => {
    const { verify, fetched } = open();
    expect(await verify(message)).toBe("unsigned");
    expect(fetched).toEqual([certificateUrl]);
  });

  test.each<[string, unknown]>([
    ["a version that is not known", { ...signed, SignatureVersion: "3" }],
    ["no signature", { ...signed, Signature: undefined }],
    ["a signature that is too short for one", { ...signed, Signature: "c2lnbmF0dXJl" }],
    ["a signature that is not Base64", { ...signed, Signature: "%".repeat(344) }],
    ["a type that is not signed so", { ...signed, Type: "UnsubscribeConfirmation" }],
    ["no fields", {}],
    ["nothing", undefined],
  ])("is not fetched with %s", async (_what, message) => {
    const { verify, fetched } = open();
    expect(await verify(message)).toBe("unsigned");
    expect(fetched).toEqual([]);
  });

  test("is invalid if the certificate has expired, is not valid yet, or has another key type", async () => {
    const day = (year: number) => new Date(Date.UTC(year, 0, 1));
    const years = createSigner({ from: day(2020), to: day(2021) });
    const at = (now: Date) => open({ pem: years.pem, now: () => now }).verify(years.sign(notification));
    expect(await Promise.all([day(2019), new Date(Date.UTC(2020, 6, 1)), day(2022)].map(at))).toEqual([
      "unsigned",
      "signed",
      "unsigned",
    ]);
    const { privateKey: issuerKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-521" });
    const pem = certify({ publicKey, issuerKey, from: day(2020), to: day(2100) });
    const text = Buffer.from(signedText({ ...notification, Type: "Notification" }));
    const Signature = sign("RSA-SHA1", text, privateKey).toString("base64");
    expect(await open({ pem }).verify({ ...signed, Signature })).toBe("unsigned");
  });
});

describe("certificate URL", () => {
  const path = "/SimpleNotificationService-0123456789abcdef.pem";

  test.each([
    `https://sns.us-gov-west-1.amazonaws.com${path}`,
    `https://sns.cn-north-1.amazonaws.com.cn${path}`,
    `https://sns.ap-southeast-1.amazonaws.com:443${path}`,
  ])("allows a fetch from %s", async (SigningCertURL) => {
    const { verify, fetched } = open();
    const region = String(/sns\.([^.]+)/.exec(SigningCertURL)?.[1]);
    const message = signer.sign({ ...notification, TopicArn: `arn:aws:sns:${region}:000000000000:sandbox` });
    expect(await verify({ ...message, SigningCertURL })).toBe("signed");
    expect(fetched).toHaveLength(1);
  });

  test("allows no fetch from another region than the topic's", async () => {
    const { verify, fetched } = open();
    const SigningCertURL = `https://sns.eu-west-1.amazonaws.com${path}`;
    expect(await verify({ ...signer.sign(notification), SigningCertURL })).toBe("unsigned");
    expect(fetched).toEqual([]);
  });

  test.each([
    `http://sns.ap-southeast-1.amazonaws.com${path}`,
    `https://sns.ap-southeast-1.amazonaws.com:8443${path}`,
    `https://me@sns.ap-southeast-1.amazonaws.com${path}`,
    `https://:x@sns.ap-southeast-1.amazonaws.com${path}`,
    `https://sns.ap-southeast-1.amazonaws.com.evil.example${path}`,
    `https://sns.ap-southeast-1.amazonaws.com@evil.example${path}`,
    `https://evil.example/sns.ap-southeast-1.amazonaws.com${path}`,
    `https://xsns.ap-southeast-1.amazonaws.com${path}`,
    // Buckets, which anybody can own.
    `https://sns.s3.amazonaws.com${path}`,
    `https://sns.s3-us-west-2.amazonaws.com${path}`,
    `https://s3.ap-southeast-1.amazonaws.com${path}`,
    `https://sns.a.b.amazonaws.com${path}`,
    "https://sns.ap-southeast-1.amazonaws.com/",
    "https://sns.ap-southeast-1.amazonaws.com/other.pem",
    `https://sns.ap-southeast-1.amazonaws.com/x${path}`,
    `https://sns.ap-southeast-1.amazonaws.com${path}?Action=x`,
    `https://sns.ap-southeast-1.amazonaws.com${path}#x`,
    "https://sns.ap-southeast-1.amazonaws.com/SimpleNotificationService-/../x.pem",
    `https://sns.ap-southeast-1.amazonaws.com/SimpleNotificationService-${"0".repeat(65)}.pem`,
    "fetch me",
  ])("allows no fetch from %s", async (SigningCertURL) => {
    const { verify, fetched } = open();
    expect(await verify({ ...signer.sign(notification), SigningCertURL })).toBe("unsigned");
    expect(fetched).toEqual([]);
  });
});

describe("certificate", () => {
  const at = (name: number | string) =>
    certificateUrl.replace("-test", `-${typeof name === "string" ? name : `n${name}`}`);
  const signedAt = (name: number | string) => ({ ...signer.sign(notification), SigningCertURL: at(name) });

  it("is fetched once for many messages at once and later", async () => {
    const { verify, fetched } = open();
    const message = signer.sign(notification);
    const all = await Promise.all(Array.from({ length: 50 }, () => verify(message)));
    expect(new Set([...all, await verify(message)])).toEqual(new Set(["signed"]));
    expect(fetched).toHaveLength(1);
  });

  it("is not fetched again for 30 s after a failure, and the message is unknown", async () => {
    let now = 0;
    let tries = 0;
    const { verify } = open({
      nowMs: () => now,
      fetchCertificate: async () => {
        tries += 1;
        if (tries === 1) throw new Error("ENOTFOUND");
        return tries === 2 ? "<html>" : signer.pem;
      },
    });
    const found: string[] = [];
    for (now of [0, 29_999, 30_000, 59_999, 60_000, 90_000]) found.push(await verify(signer.sign(notification)));
    expect(found).toEqual(["unknown", "unknown", "unknown", "unknown", "signed", "signed"]);
    expect(tries).toBe(3);
  });

  it("is fetched at most 5 times a minute for any URLs, and not at all from the cache (G12)", async () => {
    let now = 0;
    const { verify, fetched } = open({ nowMs: () => now });
    const found = [];
    for (let name = 0; name < 8; name += 1) found.push(await verify(signedAt(name)));
    expect(found).toEqual([...Array(5).fill("signed"), ...Array(3).fill("unknown")]);
    expect(await verify(signedAt(0))).toBe("signed");
    now = 60_000;
    expect(await verify(signedAt(7))).toBe("signed");
    expect(fetched).toHaveLength(6);
  });

  it("stays in a cache of 16 while it is used (G12)", async () => {
    let now = 0;
    const { verify, fetched } = open({ nowMs: () => now });
    for (let name = 0; name < 40; name += 1) {
      now += 15_000;
      await verify(signedAt("used"));
      await verify(signedAt(name));
    }
    expect(fetched.filter((href) => href === at("used"))).toHaveLength(1);
    now += 60_000;
    await verify(signedAt(39));
    await verify(signedAt(0));
    expect(fetched).toHaveLength(42);
  });
});

describe("100 URLs without a certificate", () => {
  const junkAt = (name: number) => ({
    ...signer.sign(notification),
    SigningCertURL: certificateUrl.replace("-test", `-junk${name}`),
  });

  const flooded = async (verify: (message: unknown) => Promise<unknown>, pass: () => void): Promise<void> => {
    for (let name = 0; name < 100; name += 1) {
      pass();
      expect(await verify(junkAt(name))).toBe("unknown");
    }
  };

  it("do not displace a certificate in use", async () => {
    let now = 0;
    const fetched: string[] = [];
    const { verify } = open({
      nowMs: () => now,
      fetchCertificate: async ({ href }) => {
        fetched.push(href);
        if (href.includes("junk")) throw new Error("HTTP 404");
        return signer.pem;
      },
    });
    expect(await verify(signer.sign(notification))).toBe("signed");
    // Slowly enough that each of them is fetched.
    await flooded(verify, () => {
      now += 15_000;
    });
    expect(await verify(signer.sign(notification))).toBe("signed");
    expect([fetched.length, fetched.filter((href) => href === certificateUrl).length]).toEqual([101, 1]);
  });

  it("do not prevent another fetch of a proven certificate", async () => {
    let now = 0;
    let isJunk = false;
    const { verify } = open({
      nowMs: () => now,
      fetchCertificate: async () => {
        if (isJunk) throw new Error("HTTP 404");
        return signer.pem;
      },
    });
    expect(await verify(signer.sign(notification))).toBe("signed");
    // Displaced by as many valid certificates.
    for (let name = 0; name < 16; name += 1) {
      now += 15_000;
      await verify({
        ...signer.sign(notification),
        SigningCertURL: certificateUrl.replace("-test", `-good${name % 15}`),
      });
      await verify({
        ...createSigner().sign(notification),
        SigningCertURL: certificateUrl.replace("-test", `-other${name}`),
      });
    }
    isJunk = true;
    now += 60_000;
    await flooded(verify, () => undefined);
    isJunk = false;
    expect(await verify(signer.sign(notification))).toBe("signed");
  });
});

describe("fetch of a certificate", () => {
  it("returns the text, and fails for a redirect, a missing, a too large or a late one", async () => {
    const script = await startScriptedProvider(() => ({ text: signer.pem }));
    const url = new URL(script.url);
    expect(await fetchPem(url)).toBe(signer.pem);
    for (const answer of [
      { status: 302, headers: { location: "/elsewhere" }, text: "" },
      { status: 404, text: signer.pem },
      { text: signer.pem.repeat(20) },
      new Promise<never>(() => undefined),
    ]) {
      script.respond = () => answer;
      await expect(fetchPem(url)).rejects.toThrow();
    }
    expect(script.calls.map(({ path }) => path)).toEqual(Array(5).fill("/"));
  });
});
