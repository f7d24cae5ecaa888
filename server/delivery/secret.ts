/** The secrets of endpoints, and signatures by Standard Webhooks 1.0. */
import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";
import type { Sealer } from "../auth/keys.ts";
import type { Message } from "./message.ts";

/** 32 random bytes: Standard Webhooks asks for 24 to 64. */
export const createSecret = (): string => `whsec_${randomBytes(32).toString("base64")}`;

/** Whether the text is a secret by Standard Webhooks: `whsec_`, then 24 to 64 bytes in base64. */
export function isSecret(text: string): boolean {
  const [, base64] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? [];
  if (base64 === undefined) return false;
  const bytes = Buffer.from(base64, "base64");
  return bytes.length >= 24 && bytes.length <= 64 && bytes.toString("base64") === base64;
}

/** A secret as the table stores it. The endpoint's id is authenticated with it, so that a row's secret is of no use in another row. */
export const sealSecret = (sealer: Sealer, endpointId: string, secret: string): Buffer =>
  sealer.seal(secret, purposeOf(endpointId));

/** Returns undefined if none of this node's `TUKIO_SECRET`s sealed it. */
export const openSecret = (sealer: Sealer, endpointId: string, sealed: Buffer): string | undefined =>
  sealer.open(sealed, purposeOf(endpointId));

const purposeOf = (endpointId: string): string => `endpoint:${endpointId}`;

/** The headers of one attempt. Every secret signs, so that a receiver may verify with any of them. */
export function signedHeaders({ id, body }: Message, secrets: readonly string[], at: Date): Record<string, string> {
  return {
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
    "webhook-signature": secrets.map((secret) => new Webhook(secret).sign(id, at, body)).join(" "),
  };
}
