import { describe, expect, it } from "vitest";
import { createSandboxSecrets, createSealer, createUrlSecrets, isSame } from "../../server/auth/keys.ts";

const secret = "a secret of more than thirty-two characters";
const other = "another secret of more than thirty-two chars";
const paymentId = "0199f2c4-1234-7abc-8def-0123456789ab";

describe("a URL secret", () => {
  it("is hex and yields the payment that it was sealed for", () => {
    const secrets = createUrlSecrets([secret], "webhook");
    const sealed = secrets.seal("daraja", paymentId);
    expect(sealed).toMatch(/^[0-9a-f]{64}$/);
    expect(secrets.open("daraja", sealed)).toBe(paymentId);
  });

  it("is not valid at another provider, for another purpose, or with another secret", () => {
    const sealed = createUrlSecrets([secret], "webhook").seal("daraja", paymentId);
    expect(createUrlSecrets([secret], "webhook").open("bkash", sealed)).toBeUndefined();
    expect(createUrlSecrets([secret], "return").open("daraja", sealed)).toBeUndefined();
    expect(createUrlSecrets([other], "webhook").open("daraja", sealed)).toBeUndefined();
  });

  it("is not valid with a changed, missing or additional character", () => {
    const secrets = createUrlSecrets([secret], "webhook");
    const sealed = secrets.seal("daraja", paymentId);
    for (let at = 0; at < sealed.length; at += 1) {
      const digit = sealed[at] === "0" ? "1" : "0";
      expect(secrets.open("daraja", sealed.slice(0, at) + digit + sealed.slice(at + 1))).toBeUndefined();
    }
    for (const wrong of ["", sealed.slice(1), `${sealed}0`, sealed.toUpperCase(), "../../etc/passwd"]) {
      expect(secrets.open("daraja", wrong)).toBeUndefined();
    }
  });

  it("stays valid after a new secret is put in front of its own", () => {
    const sealed = createUrlSecrets([other], "webhook").seal("daraja", paymentId);
    const rotated = createUrlSecrets([secret, other], "webhook");
    expect(rotated.open("daraja", sealed)).toBe(paymentId);
    expect(rotated.seal("daraja", paymentId)).not.toBe(sealed);
  });

  it("reports its purpose when it opens with another secret than the first", () => {
    for (const purpose of ["webhook", "return"] as const) {
      const uses: string[] = [];
      const rotated = createUrlSecrets([secret, other], purpose, (used) => uses.push(used));
      rotated.open("daraja", rotated.seal("daraja", paymentId));
      rotated.open("daraja", createUrlSecrets(["a removed secret"], purpose).seal("daraja", paymentId));
      expect(uses).toEqual([]);
      rotated.open("daraja", createUrlSecrets([other], purpose).seal("daraja", paymentId));
      expect(uses).toEqual([purpose]);
    }
  });
});

describe("a sandbox secret", () => {
  it("depends on the first secret, the provider and the variable only", () => {
    const secretOf = createSandboxSecrets([secret]);
    const given = secretOf("daraja", "PASSKEY");
    expect(given).toMatch(/^[0-9a-f]{64}$/);
    expect(createSandboxSecrets([secret, other])("daraja", "PASSKEY")).toBe(given);
    const others = [
      secretOf("daraja", "CONSUMER_SECRET"),
      secretOf("bkash", "PASSKEY"),
      createSandboxSecrets([other, secret])("daraja", "PASSKEY"),
    ];
    expect(new Set([given, ...others]).size).toBe(4);
  });
});

describe("a sealed text", () => {
  it("is not readable and can be opened, also after a rotation of secrets", () => {
    const sealed = createSealer([other]).seal("access token", "daraja");
    expect(sealed.toString("latin1")).not.toContain("access token");
    expect(createSealer([secret, other]).open(sealed, "daraja")).toBe("access token");
  });

  it("reports when it opens with another secret than the first", () => {
    const uses: string[] = [];
    const sealer = createSealer([secret, other], (used) => uses.push(used));
    sealer.open(sealer.seal("access token", "daraja"), "daraja");
    expect(uses).toEqual([]);
    sealer.open(createSealer([other]).seal("access token", "daraja"), "daraja");
    expect(uses).toEqual(["token"]);
  });

  it("cannot be opened for another provider, with another secret, or after a change", () => {
    const sealer = createSealer([secret]);
    const sealed = sealer.seal("access token", "daraja");
    expect(sealer.open(sealed, "bkash")).toBeUndefined();
    expect(createSealer([other]).open(sealed, "daraja")).toBeUndefined();
    sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1;
    expect(sealer.open(sealed, "daraja")).toBeUndefined();
  });
});

describe("isSame", () => {
  it("tells equal strings from different ones", () => {
    expect(isSame("key", "key")).toBe(true);
    expect(isSame("key", "keys")).toBe(false);
    expect(isSame("", "key")).toBe(false);
  });
});
