/**
 * The token in the URL of the page of a payment link or a plan. The page is found by the token's hash, so the page works without
 * `TUKIO_SECRET`. The API shows the URL again and again, so the token is stored encrypted too.
 */
import { createHash, randomBytes } from "node:crypto";
import type { Sealer } from "../auth/keys.ts";

/** What a page is about. */
export type PageKind = "payment-link" | "plan";

/** 144 random bits: 24 characters, so that the QR code of the URL stays small. */
export const createToken = (): string => randomBytes(18).toString("base64url");

export const isToken = (text: string): boolean => /^[\w-]{24}$/.test(text);

export const hashOf = (secret: string): Buffer => createHash("sha256").update(secret).digest();

/** The id of the link or plan is authenticated with the token, so that a row's token is of no use in another row. */
export const sealToken = (sealer: Sealer, id: string, token: string, kind: PageKind = "payment-link"): Buffer =>
  sealer.seal(token, `${kind}:${id}`);

/** Returns undefined if none of this node's `TUKIO_SECRET`s sealed it. */
export const openToken = (
  sealer: Sealer,
  id: string,
  sealed: Buffer,
  kind: PageKind = "payment-link",
): string | undefined => sealer.open(sealed, `${kind}:${id}`);
