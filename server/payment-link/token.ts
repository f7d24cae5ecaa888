/**
 * The token in the URL of a link's page. The page is found by the token's hash, so the page works without `TUKIO_SECRET`. The API shows
 * the URL again and again, so the token is stored encrypted too.
 */
import { createHash, randomBytes } from "node:crypto";
import type { Sealer } from "../auth/keys.ts";

/** 144 random bits: 24 characters, so that the QR code of the URL stays small. */
export const createToken = (): string => randomBytes(18).toString("base64url");

export const isToken = (text: string): boolean => /^[\w-]{24}$/.test(text);

export const hashOf = (secret: string): Buffer => createHash("sha256").update(secret).digest();

/** The link's id is authenticated with the token, so that a row's token is of no use in another row. */
export const sealToken = (sealer: Sealer, linkId: string, token: string): Buffer =>
  sealer.seal(token, purposeOf(linkId));

/** Returns undefined if none of this node's `TUKIO_SECRET`s sealed it. */
export const openToken = (sealer: Sealer, linkId: string, sealed: Buffer): string | undefined =>
  sealer.open(sealed, purposeOf(linkId));

const purposeOf = (linkId: string): string => `payment-link:${linkId}`;
