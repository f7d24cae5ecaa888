/** Forms that a browser sends without scripts. */
import type { FastifyInstance } from "fastify";

/** 4 KiB, because a form has a few short fields. */
const bytesMax = 4_096;

/** Makes the routes of a scope of its own take forms, as `URLSearchParams`. */
export function acceptForms(scope: FastifyInstance): void {
  scope.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string", bodyLimit: bytesMax },
    (_request, body: string, done) => done(null, new URLSearchParams(body)),
  );
}
