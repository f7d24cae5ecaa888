/** Answers with a page for payers, under its policy: nobody keeps, indexes or frames it, and its address is passed to no other site. */
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type PageLook, pagePolicy } from "./frame.ts";

export interface SentPage extends PageLook {
  /** The whole document. */
  html: string;
}

export async function sendPrivatePage(
  request: FastifyRequest,
  reply: FastifyReply,
  page: SentPage,
): Promise<FastifyReply> {
  reply.headers({
    "content-security-policy": pagePolicy(page, request.host),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
    vary: "Accept-Encoding, Accept-Language, Cookie",
  });
  reply.type("text/html; charset=utf-8");
  if (!/\bgzip\b/.test(String(request.headers["accept-encoding"] ?? ""))) return reply.send(page.html);
  return reply.header("content-encoding", "gzip").send(await promisify(gzip)(page.html));
}
