/** The providers' own servers, as far as Tukio talks to them, and the payer's phone. To be mounted at `/sandbox`. */
import type { FastifyInstance } from "fastify";
import { darajaSandbox, darajaSandboxAccount } from "./daraja.ts";
import { createPhone, phoneRoutes } from "./phone.ts";

export interface SandboxOptions {
  /** Which providers are the sandbox. None: nothing is served. */
  names: readonly "daraja"[];
  /** From asking to a payment's deadline, in seconds. */
  deadlineS: number;
}

export async function sandboxRoutes(app: FastifyInstance, { names, deadlineS }: SandboxOptions): Promise<void> {
  if (names.length === 0) return;
  const phone = createPhone({ deadlineS });
  app.addHook("onClose", async () => phone.close());
  app.register(async (scope) => phoneRoutes(scope, { phone }), { prefix: "/phone" });
  if (names.includes("daraja")) {
    app.register(async (scope) => darajaSandbox(scope, { phone, ...darajaSandboxAccount }), { prefix: "/daraja" });
  }
}
