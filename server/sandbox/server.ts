/**
 * The sandbox: the HTTP APIs of the providers, as far as Tukio uses them, the payer's phone, and the inbox. Mount at `/sandbox`.
 *
 * An unauthenticated client may use the pages and the phone, and so answer prompts. Other requests need the account's
 * credentials, which are derived from the node's secret. A request without them counts towards the limit of its address
 * (G12); the node's own calls have them and do not count. A sandbox sends requests only to the node itself, and no page of
 * another origin can read its answers.
 */
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from "fastify";
import { createNodeProof, createSandboxSecrets } from "../auth/keys.ts";
import type { Database } from "../database/pool.ts";
import type { DeadlineFacts } from "./deadline.ts";
import { createForwarding, type Forwarding } from "./forward.ts";
import { createSandboxHost } from "./host.ts";
import { addInbox } from "./inbox-routes.ts";
import { type IsMerchant, limitUnauthenticated } from "./limit.ts";
import { createPhone, type Phone } from "./phone.ts";
import { phoneRoutes } from "./phone-routes.ts";
import { createDescribePayment, type DescribeOptions, type DescribePayment } from "./prompt-view.ts";

export type { IsMerchant } from "./limit.ts";

/** The environment variables of a provider's account, without the prefix `<NAME>_`. */
export type Account = Readonly<Record<string, string>>;

/** The dependencies of a provider's sandbox. */
export interface SandboxContext<A extends Account = Account> {
  /** The credentials of its only merchant. */
  account: A;
  phone: Phone;
  /** Whether a URL is this node's. A sandbox sends requests to no other URL, and refuses a request that names another. */
  isOwn(url: string): boolean;
  /** The URL for account-wide webhooks, which a merchant would enter in the provider's dashboard. */
  webhookUrl: () => URL;
  /** The base URL for the payer's browser, without a slash at the end. By default that of the current request. */
  publicUrl?: () => string;
  /** Reads the merchant's order, for pages that the payer sees. By default no payment is known. */
  describe?: DescribePayment;
  /** The real clock by default. */
  now?: () => Date;
}

/** The sandbox of one provider. */
export interface Sandbox<A extends Account = Account> extends DeadlineFacts {
  /** Creates the account of its only merchant. `secretOf` returns 64 hex digits that only this node can derive. */
  account(secretOf: (variable: string) => string): A;
  /** Serves the provider's HTTP API in the scope of `/sandbox/<provider>`. Returns the check for its merchant. */
  serve(app: FastifyInstance, context: SandboxContext<A>): IsMerchant;
}

/** The account that the adapter and the sandbox of a provider share. Its secrets are derived from the node's secrets. */
export function sandboxAccount<A extends Account>(
  name: string,
  sandbox: Pick<Sandbox<A>, "account">,
  secrets: readonly string[],
): A {
  const secretOf = createSandboxSecrets(secrets);
  return sandbox.account((variable) => secretOf(name, variable));
}

/** An enabled provider that uses its sandbox. */
export interface Sandboxed {
  name: string;
  sandbox: Sandbox;
  /** Seconds from the request for money to the deadline of a payment with this phone number. */
  deadlineS: (phone: string) => number;
}

/** An SMS gateway's sandbox, at `/sandbox/sms/<name>`. */
export type SandboxedGateway = Pick<Sandboxed, "name" | "sandbox">;

/** The name of a gateway's sandbox among those of providers. */
const gatewaySandboxName = (gateway: string): string => `sms/${gateway}`;

/** The account that the adapter and the sandbox of a gateway share. */
export const gatewayAccount = <A extends Account>(
  gateway: string,
  sandbox: Pick<Sandbox<A>, "account">,
  secrets: readonly string[],
): A => sandboxAccount(gatewaySandboxName(gateway), sandbox, secrets);

/** Joins the sandboxes of the other nodes on the database. */
export interface SandboxNode {
  /** Call it when the node listens. Throws an Error for the operator. */
  join(): Promise<void>;
  /** Call it before the node stops listening: another node can then be the host while this one finishes its requests. */
  leave(): Promise<void>;
}

export interface SandboxOptions {
  /** If empty, there are no routes. */
  sandboxed: readonly Sandboxed[];
  /** The node's secrets, from which the accounts are derived. */
  secrets: readonly string[];
  /** The base URL of this node on this machine. */
  hubUrl: () => string;
  /** The base URL of this node for other machines. */
  publicUrl: () => string;
  /** Counts a request of an unauthenticated client. Throws `rate_limited`. */
  admit: (request: FastifyRequest) => Promise<void>;
  /** Reads the order of a payment. By default no payment is known. */
  describe?: DescribePayment;
  /** By default this node has no other nodes. */
  forwarding?: Forwarding;
}

interface SandboxNodeOptions extends Omit<SandboxOptions, "describe" | "forwarding">, Omit<DescribeOptions, "log"> {
  /** The sandboxes of SMS gateways, which are there if any provider is sandboxed. */
  gateways?: readonly SandboxedGateway[];
  database: Pick<Database, "connectAlone">;
  /** The names of all sandboxes that a node may have, in an order that is the same on all nodes. */
  names: readonly string[];
  /** `conflicts`: how many running nodes have secrets that conflict with this node's. Their sandboxes do not accept this node. */
  secretComparison: { readonly state: { readonly conflicts: number } };
  log: FastifyBaseLogger;
}

/** 10 s, because the lock of a node on another machine is free only when PostgreSQL notices that the node ended. */
const joinMs = 10_000;

/** 1 s, because a host with other secrets does not accept this node later either. */
const conflictMs = 1_000;

/** Adds the routes of the sandboxes, in a scope of their own at `/sandbox`. */
export async function addSandboxes(app: FastifyInstance, options: SandboxNodeOptions): Promise<SandboxNode> {
  const { sandboxed, gateways = [], names, hubUrl, publicUrl, database, query, store, log } = options;
  // Each sandbox is a bit, so that nodes can compare theirs.
  const sandboxes = sandboxed.reduce((bits, { name }) => bits | (1 << names.indexOf(name)), 0);
  if (sandboxes === 0) return { join: async () => undefined, leave: async () => undefined };
  const host = createSandboxHost({ database, sandboxes, selfUrl: hubUrl, log });
  const proof = createNodeProof(options.secrets);
  const forwarding = createForwarding({ host, proof, ownUrls: () => [hubUrl(), publicUrl()] });
  app.addHook("onClose", forwarding.close);
  const describe = createDescribePayment({ query, store, log });
  const all = [...sandboxed, ...gateways.map(asSandboxed)];
  await app.register(sandboxRoutes, { ...options, sandboxed: all, describe, forwarding, prefix: "/sandbox" });
  const join = (): Promise<void> => joinOrWait(forwarding, options);
  return { join, leave: host.close };
}

/** Never used, because a gateway sends no prompts. */
const asSandboxed = ({ name, sandbox }: SandboxedGateway): Sandboxed => ({
  name: gatewaySandboxName(name),
  sandbox,
  deadlineS: () => 0,
});

/**
 * A node whose secrets conflict with another's starts, so that `/readyz` can report it. Until the other node ends, its sandboxes
 * answer 503.
 */
async function joinOrWait(forwarding: Forwarding, { secretComparison, log }: SandboxNodeOptions): Promise<void> {
  const hasSecretConflict = (): boolean => secretComparison.state.conflicts > 0;
  try {
    await forwarding.join(hasSecretConflict() ? conflictMs : joinMs);
  } catch (err) {
    if (!hasSecretConflict()) throw err;
    log.warn(
      { event: "sandbox.host.refused", err },
      "the host of the sandboxes has other secrets; the sandboxes of this node do not work",
    );
  }
}

export async function sandboxRoutes(app: FastifyInstance, options: SandboxOptions): Promise<void> {
  const { sandboxed, secrets, hubUrl, publicUrl, describe, admit, forwarding } = options;
  const phone = createPhone();
  // The node that forwarded a request has counted it.
  const isForwarded: IsMerchant = (request) => forwarding?.isForwarded(request) === true;
  app.addHook("onClose", async () => phone.close());
  // Pages of other origins must not read answers of the sandbox.
  app.addHook("onRoute", (route) => {
    route.config = { ...route.config, cors: false };
  });
  app.register(
    async (scope) => {
      // The page and programs poll these routes.
      scope.addHook("onRoute", (route) => {
        route.config = { ...route.config, isCheap: true };
      });
      limitUnauthenticated(scope, { admit, isMerchant: isForwarded });
      forwarding?.addTo(scope);
      phoneRoutes(scope, { phone, ...(describe && { describe }) });
    },
    { prefix: "/phone" },
  );
  addInbox(app, { proof: createNodeProof(secrets), admit, isForwarded, forwarding });
  const isOwn = (url: string): boolean =>
    [hubUrl(), publicUrl()].some((base) => originOf(base) === originOf(url)) ||
    forwarding?.isNodeOrigin(originOf(url)) === true;
  for (const { name, sandbox, deadlineS } of sandboxed) {
    const context: SandboxContext = {
      account: sandboxAccount(name, sandbox, secrets),
      phone: { ...phone, prompt: (request) => phone.prompt({ ...request, deadlineS: deadlineS(request.phone) }) },
      isOwn,
      webhookUrl: () => new URL(`${hubUrl()}/webhooks/${name}`),
      publicUrl: () => `${publicUrl()}/sandbox/${name}`,
      ...(describe && { describe }),
    };
    app.register(
      async (scope) => {
        const isExempt: IsMerchant = (request) => isForwarded(request) || isMerchant(request);
        limitUnauthenticated(scope, { admit, isMerchant: isExempt });
        forwarding?.addTo(scope);
        const isMerchant = sandbox.serve(scope, context);
      },
      { prefix: `/${name}` },
    );
  }
}

/** Undefined for text that is not a URL; it equals no origin. */
const originOf = (url: string): string | undefined => (URL.canParse(url) ? new URL(url).origin : undefined);
