/** Restricts requests to the shop's own page, because they act for the shop and pages of other sites must not send them. */
import type { FastifyRequest } from "fastify";
import { HubError } from "../errors.ts";

/**
 * Returns the base URL of the page that sends the request, without a slash at the end. Browsers send it in headers that a page
 * cannot set. Throws `origin_refused` for other pages, and for requests without these headers.
 */
export function homeOf({ headers, host }: FastifyRequest, publicUrl: string): string {
  const { origin, "sec-fetch-site": site } = headers;
  const isPublic = origin === new URL(publicUrl).origin;
  const isOwn =
    site === undefined ? isPublic || (origin !== undefined && hostOf(origin) === host) : site === "same-origin";
  if (!isOwn) throw new HubError("origin_refused", "Only the shop's own page may send this request");
  return origin === undefined || isPublic ? publicUrl : origin;
}

const hostOf = (origin: string): string | undefined => (URL.canParse(origin) ? new URL(origin).host : undefined);
