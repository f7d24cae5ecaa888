/**
 * The browser that pays on a link's page. It has a random key in a cookie, whose hash is stored with the payments that it starts, so that
 * every node knows it, also after a restart.
 */
import { randomBytes } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { hashOf } from "./token.ts";

const cookieName = "tukio_payer";

/** A week, so that a payer finds the receipt again. */
const keptS = 604_800;

export interface Payer {
  /** SHA-256 of the key, in hex. */
  hash: string;
  /** The browser sent the key. */
  isKnown: boolean;
}

/** Reads the browser's key, or gives it one. `path`: of the link's page, the only one that receives the key. */
export function payerOf(
  request: FastifyRequest,
  reply: FastifyReply,
  { path, isSecure }: { path: string; isSecure: boolean },
): Payer {
  const known = keyIn(request.headers.cookie);
  const key = known ?? randomBytes(16).toString("base64url");
  const parts = [`${cookieName}=${key}`, `Path=${path}`, `Max-Age=${keptS}`, "HttpOnly", "SameSite=Lax"];
  reply.header("set-cookie", [...parts, ...(isSecure ? ["Secure"] : [])].join("; "));
  return { hash: hashOf(key).toString("hex"), isKnown: known !== undefined };
}

const keyIn = (cookie: string | undefined): string | undefined =>
  new RegExp(`(?:^|;\\s*)${cookieName}=([\\w-]{22})(?:;|$)`).exec(cookie ?? "")?.[1];
