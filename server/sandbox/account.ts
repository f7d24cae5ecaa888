/** The account that a provider's sandbox knows its one merchant by. */
import { createSandboxSecrets } from "../order/secret.ts";
import type { Account, Sandbox } from "./sandbox.ts";

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
