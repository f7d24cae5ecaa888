/** Route for operators: examines the node and what it depends on, and says what to do. */
import type { FastifyInstance } from "fastify";
import { type Access, merchantOnly } from "../auth/access.ts";
import type { Doctor } from "../doctor/check.ts";
import { doctorReport } from "../schema/operating.ts";
import { described, openedBy, readProblems } from "../schema/route.ts";

const examine = described({
  operationId: "examine",
  tag: "Operating",
  summary: "Examine the nodes and what they depend on",
  description:
    "Fetches an access token of each provider now, logs in to the mail server, and looks at PostgreSQL, Redis, the spool, the public URL, the endpoints and the other nodes. Answers within 10 s, also if something hangs, and always with 200. Callers at the same time share one examination, and one that is less than 5 s old is not repeated. The answer contains no secret.",
  security: openedBy.read,
  answers: {
    200: {
      description: "What was found, with what to do about it.",
      schema: doctorReport,
      example: {
        status: "error",
        checkedAt: "2026-11-20T21:00:00.000Z",
        node: "hub-1:3000",
        data: [
          {
            id: "provider.daraja",
            name: "M-Pesa",
            status: "error",
            message:
              'M-Pesa refuses the credentials: it answered HTTP 400 with {"errorCode":"400.008.01","errorMessage":"Invalid Authentication passed"}.',
            action:
              "Compare DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET with the provider's portal, and restart every node. Test credentials need the test address in DARAJA_BASE_URL.",
          },
          {
            id: "redis",
            name: "Redis",
            status: "ok",
            message: "10.0.0.5:6379 (7.4.1) answers within 0.4 ms and carries events.",
          },
        ],
      },
    },
  },
  problems: readProblems,
});

export interface DoctorRouteOptions {
  access: Access;
  doctor: Doctor;
}

export function doctorRoute(app: FastifyInstance, { access, doctor }: DoctorRouteOptions): void {
  app.get("/v1/doctor", { ...examine, onRequest: merchantOnly(access) }, async (_request, reply) => {
    const { status, checkedAt, node, checks } = await doctor.examine();
    reply.header("cache-control", "no-store");
    return { status, checkedAt: checkedAt.toISOString(), node, data: checks };
  });
}
