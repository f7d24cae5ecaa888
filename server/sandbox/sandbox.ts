/** The providers' own servers, as far as Tukio talks to them, and the payer's phone. To be mounted at `/sandbox`. */
import type { FastifyInstance } from "fastify";
import type { Gate } from "../limit.ts";
import { createPhone, type Phone, phoneRoutes } from "./phone.ts";
import { phonePageRoutes } from "./phone-page.ts";

/** What a provider's sandbox is given to work with. */
export interface SandboxContext {
  phone: Phone;
  /** Where this hub takes the provider's account-wide webhooks: what the merchant would enter in a dashboard. */
  webhookUrl: () => URL;
  /** Where a payer's browser finds this server, without a slash at the end. By default, where its caller found it. */
  publicUrl?: () => string;
  /** The real clock by default. */
  now?: () => Date;
}

/** One provider's server. */
export interface Sandbox {
  /** What it knows its one merchant by: the environment variables of the account, without the prefix. */
  readonly variables: Readonly<Record<string, string>>;
  /** Serves the provider's HTTP API, in the scope of `/sandbox/<provider>`. */
  serve(app: FastifyInstance, context: SandboxContext): void;
}

/** A provider that is the sandbox here. */
export interface Sandboxed {
  name: string;
  sandbox: Sandbox;
  /** From asking to a payment's deadline, in seconds. */
  deadlineS: number;
}

export interface SandboxOptions {
  /** None: nothing is served. */
  sandboxed: readonly Sandboxed[];
  /** Base of this hub's own addresses. */
  hubUrl: () => string;
  /** The same for those who are not on this machine. */
  publicUrl?: () => string;
  /** Connections open at once from one address. */
  gate: Gate;
}

export async function sandboxRoutes(
  app: FastifyInstance,
  { sandboxed, hubUrl, publicUrl, gate }: SandboxOptions,
): Promise<void> {
  if (sandboxed.length === 0) return;
  const phone = createPhone();
  app.addHook("onClose", async () => phone.close());
  app.register(
    async (scope) => {
      phoneRoutes(scope, { phone });
      phonePageRoutes(scope, { phone, gate });
    },
    { prefix: "/phone" },
  );
  for (const { name, sandbox, deadlineS } of sandboxed) {
    const context: SandboxContext = {
      phone: { ...phone, ring: (ring) => phone.ring({ deadlineS, ...ring }) },
      webhookUrl: () => new URL(`${hubUrl()}/webhooks/${name}`),
      ...(publicUrl && { publicUrl: () => `${publicUrl()}/sandbox/${name}` }),
    };
    app.register(async (scope) => sandbox.serve(scope, context), { prefix: `/${name}` });
  }
}
