/** The schemas of answers for operators: providers, the doctor, and the health of a node. test/schema/answer.test.ts compares them with the types. */
import { z } from "zod";
import { live, time } from "./answer.ts";

const tookMs = (description: string) =>
  z.number().nullable().describe(`${description}, in milliseconds, rounded to two digits. Null if there was no call.`);

const call = z.object({
  count: z.int().min(0).describe("The number of calls that ended."),
  errors: z.int().min(0).describe("Calls without a usable answer. A declined payer is a usable answer."),
  p50Ms: tookMs("Median duration"),
  p99Ms: tookMs("99th percentile of the duration"),
});

export const providerList = z
  .object({
    data: z.array(
      z.object({
        name: z.string(),
        live,
        sandbox: z.boolean().describe("True for the built-in sandbox, whose test numbers decide how a payment ends."),
        currencies: z.array(z.string()).describe("ISO 4217."),
        countries: z.array(z.string()).describe("ISO 3166-1 alpha-2."),
        token: z
          .object({ expiresAt: time("When the access token expires") })
          .nullable()
          .describe("Null if the provider uses no access token or none was fetched yet."),
        calls: z
          .object({
            initiate: call.describe("Requests for money."),
            complete: call.describe("Requests to take the money that a payer approved on the provider's page."),
            confirm: call.describe("Queries about payments."),
            token: call.describe("Requests for access tokens."),
          })
          .describe(
            "Calls to the provider from all nodes that ended in the last 15 min. Calls of other nodes than the one that answers may be 5 s late.",
          ),
        succeededShare: z
          .number()
          .min(0)
          .max(1)
          .nullable()
          .describe(
            "The share of succeeded payments among the settled ones that were started in the last 24 h, on any node. A person's decision counts; a payment in review counts as not succeeded. Null if there is no such payment.",
          ),
      }),
    ),
  })
  .meta({ id: "ProviderList" });

export const providerToken = z
  .object({ expiresAt: time("When the access token expires").nullable() })
  .meta({ id: "AccessToken" });

const severity = z.enum(["ok", "warning", "error"]);

export const doctorReport = z
  .object({
    status: severity.describe("The worst of all checks."),
    checkedAt: time("When the examination began"),
    node: z
      .string()
      .describe("The node that examined: host and port. Checks of its network, disk and clock are about this node."),
    data: z.array(
      z.object({
        id: z.string().describe("Stable, such as `provider.daraja` or `database.connections`."),
        name: z.string().describe("The subject, for people."),
        status: severity,
        message: z.string().describe("What was found, in a sentence or two."),
        action: z.string().optional().describe("What to do about it. Present unless the check is `ok`."),
      }),
    ),
  })
  .meta({ id: "DoctorReport" });

const up = z.enum(["up", "down"]);

export const readiness = z
  .object({
    status: z.enum(["ok", "unavailable"]),
    postgres: up,
    bus: up,
    spool: z.enum(["up", "down", "off"]),
    secrets: z.enum(["ok", "conflict", "unknown"]).meta({
      description:
        "`conflict`: this node or another one refuses webhooks that the other one expects. `unknown`: the secrets have not been compared yet.",
    }),
    draining: z.boolean(),
    detail: z.string().optional().meta({
      description: "Present if the database's schema is older than this node needs, or if secrets are not `ok`.",
    }),
  })
  .meta({ id: "Readiness", description: "The state of the parts that the node needs." });

export const alive = z.object({ status: z.literal("ok") }).meta({ id: "Liveness" });
