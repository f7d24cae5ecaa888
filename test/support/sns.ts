/** The signatures of Amazon SNS: a key, its certificate, and messages signed with it. */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

export const certificateUrl = "https://sns.ap-southeast-1.amazonaws.com/SimpleNotificationService-test.pem";

export interface Signer {
  /** The certificate in PEM. */
  pem: string;
  /** Returns the message with its signature fields. */
  sign(message: object, version?: "1" | "2"): Record<string, unknown>;
}

/** Creates a 2048-bit RSA key and its certificate, by default valid from 180 days ago until 180 days from now. */
export function createSigner({ from = daysFromNow(-180), to = daysFromNow(180) } = {}): Signer {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return {
    pem: certify({ publicKey, issuerKey: privateKey, from, to }),
    sign: (message, version = "1") => ({
      ...message,
      SignatureVersion: version,
      SigningCertURL: certificateUrl,
      Signature: sign(version === "1" ? "RSA-SHA1" : "RSA-SHA256", Buffer.from(textOf(message)), privateKey).toString(
        "base64",
      ),
    }),
  };
}

const daysFromNow = (days: number): Date => new Date(Date.now() + days * 86_400_000);

const unsigned = ["SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL"];

/** Amazon's string to sign: names and values, each on its own line, sorted by byte. */
const textOf = (message: object): string =>
  Object.entries(message)
    .filter(([name]) => !unsigned.includes(name))
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => `${name}\n${value}\n`)
    .join("");

interface Certified {
  publicKey: KeyObject;
  /** An RSA key. */
  issuerKey: KeyObject;
  from: Date;
  to: Date;
}

/** Creates an X.509 certificate (RFC 5280, section 4.1) in PEM, because Node can read certificates but not create them. */
export function certify({ publicKey, issuerKey, from, to }: Certified): string {
  const algorithm = der(0x30, Buffer.from("06092a864886f70d01010b0500", "hex")); // sha256WithRSAEncryption
  const commonName = der(0x30, Buffer.from("0603550403", "hex"), der(0x0c, Buffer.from("sns.amazonaws.com")));
  const name = der(0x30, der(0x31, commonName));
  const tbs = der(
    0x30,
    Buffer.from("a003020102020101", "hex"), // version 3, serial number 1
    algorithm,
    name,
    der(0x30, time(from), time(to)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
  );
  const signature = der(0x03, Buffer.from([0]), sign("RSA-SHA256", tbs, issuerKey));
  const lines =
    der(0x30, tbs, algorithm, signature)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const size = body.length;
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

const time = (at: Date): Buffer => der(0x18, Buffer.from(`${at.toISOString().replace(/\D/g, "").slice(0, 14)}Z`));
