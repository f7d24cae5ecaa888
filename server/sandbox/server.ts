/**
 * The providers' own servers, as far as Tukio talks to them, and the payer's phone. To be mounted at `/sandbox`.
 *
 * Strangers may use the pages and the phone, and so answer prompts. All else wants the account's credentials, which are
 * derived from the hub's secret. A request without them counts towards its address's limit; the hub's own calls, which
 * have them, do not. No address is visited but the hub's own, and no page of another origin can read an answer.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { createSandboxSecrets } from "../auth/keys.ts";
import type { ConnectionLimit } from "../rate-limit.ts";
import { createPhone, type Phone, phoneRoutes } from "./phone.ts";
import { phonePageRoutes } from "./phone-page.ts";

/** The environment variables of a provider's account, without the prefix. */
export type Account = Readonly<Record<string, string>>;

/** What a provider's sandbox is given to work with. */
export interface SandboxContext<A extends Account = Account> {
  /** What it knows its one merchant by. */
  account: A;
  phone: Phone;
  /** Whether an address is this hub's own: it visits no other, and refuses to be told of another. */
  isOwn(url: string): boolean;
  /** Where this hub takes the provider's account-wide webhooks: what the merchant would enter in a dashboard. */
  webhookUrl: () => URL;
  /** Where a payer's browser finds this server, without a slash at the end. By default, where its caller found it. */
  publicUrl?: () => string;
  /** The real clock by default. */
  now?: () => Date;
}

/** Whether a request carries the merchant's credentials, as far as its headers tell. */
export type IsMerchant = (request: FastifyRequest) => boolean;

/** One provider's server. */
export interface Sandbox<A extends Account = Account> {
  /** Makes the account of its one merchant. `secretOf` gives 64 hex digits that only this hub knows. */
  account(secretOf: (variable: string) => string): A;
  /** Serves the provider's HTTP API, in the scope of `/sandbox/<provider>`. Returns how it knows its merchant. */
  serve(app: FastifyInstance, context: SandboxContext<A>): IsMerchant;
}

/**
 * What both ends of a sandbox are given, the adapter and the provider's server. Whoever does not know the hub's secrets
 * knows none of it that is secret.
 */
export function sandboxAccount<A extends Account>(
  name: string,
  sandbox: Pick<Sandbox<A>, "account">,
  secrets: readonly string[],
): A {
  const secretOf = createSandboxSecrets(secrets);
  return sandbox.account((variable) => secretOf(name, variable));
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
  /** The hub's own: what accounts are derived from. */
  secrets: readonly string[];
  /** Base of this hub's own addresses. */
  hubUrl: () => string;
  /** The same for those who are not on this machine. */
  publicUrl: () => string;
  /** Connections open at once from one address. */
  connectionLimit: ConnectionLimit;
  /** Counts one more request of a stranger's. Throws `rate_limited`. */
  admit: (request: FastifyRequest) => Promise<void>;
}

export async function sandboxRoutes(app: FastifyInstance, options: SandboxOptions): Promise<void> {
  const { sandboxed, secrets, hubUrl, publicUrl, connectionLimit, admit } = options;
  if (sandboxed.length === 0) return;
  const phone = createPhone();
  app.addHook("onClose", async () => phone.close());
  // No page of another origin has anything to do below.
  app.addHook("onRoute", (route) => {
    route.config = { ...route.config, cors: false };
  });
  app.register(
    async (scope) => {
      // The page asks often, and so do programs.
      scope.addHook("onRoute", (route) => {
        route.config = { ...route.config, isCheap: true };
      });
      phoneRoutes(scope, { phone });
      phonePageRoutes(scope, { phone, connectionLimit });
    },
    { prefix: "/phone" },
  );
  const isOwn = (url: string): boolean => [hubUrl(), publicUrl()].some((base) => originOf(base) === originOf(url));
  for (const { name, sandbox, deadlineS } of sandboxed) {
    const context: SandboxContext = {
      account: sandboxAccount(name, sandbox, secrets),
      phone: { ...phone, prompt: (request) => phone.prompt({ deadlineS, ...request }) },
      isOwn,
      webhookUrl: () => new URL(`${hubUrl()}/webhooks/${name}`),
      publicUrl: () => `${publicUrl()}/sandbox/${name}`,
    };
    app.register(
      async (scope) => {
        limitStrangers(scope, { admit, isMerchant: (request) => isMerchant(request) });
        const isMerchant = sandbox.serve(scope, context);
      },
      { prefix: `/${name}` },
    );
  }
}

/** Undefined for what is no URL, which equals the origin of no base. */
const originOf = (url: string): string | undefined => (URL.canParse(url) ? new URL(url).origin : undefined);

/**
 * Limits requests without the merchant's credentials, before their bodies are read; those for what is not there are the
 * hub's to count. To be called before the provider's own hooks are added.
 */
function limitStrangers(
  scope: FastifyInstance,
  { admit, isMerchant }: Pick<SandboxOptions, "admit"> & { isMerchant: IsMerchant },
): void {
  scope.addHook("onRoute", (route) => {
    route.config = { ...route.config, isLimited: false };
  });
  scope.addHook("onRequest", async (request) => {
    if (!request.is404 && !isMerchant(request)) await admit(request);
  });
}
