/** Whether a request comes from the shop's own page: it spends the shop's word, so no other site's page may send it. */
import type { FastifyRequest } from "fastify";
import { HubError } from "../errors.ts";

/**
 * Where the page that asks is at home, without a slash at the end. Browsers say so themselves, in headers that no page
 * can set; whoever says nothing is no page. Throws `origin_refused`.
 */
export function homeOf({ headers, host }: FastifyRequest, publicUrl: string): string {
  const { origin, "sec-fetch-site": site } = headers;
  const isPublic = origin === new URL(publicUrl).origin;
  const isOwn =
    site === undefined ? isPublic || (origin !== undefined && hostOf(origin) === host) : site === "same-origin";
  if (!isOwn) throw new HubError("origin_refused", "Only the shop's own page may ask this");
  return origin === undefined || isPublic ? publicUrl : origin;
}

const hostOf = (origin: string): string | undefined => (URL.canParse(origin) ? new URL(origin).host : undefined);
