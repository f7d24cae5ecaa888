/** The accounts of the sandboxes of every test node. */
import { type ProviderName, registry } from "../../server/provider/registry.ts";
import type { Sandbox } from "../../server/sandbox/server.ts";
import { sandboxAccount } from "../../server/sandbox/server.ts";
import { testSecret } from "./node.ts";

type Account<N extends ProviderName> = ReturnType<(typeof registry)[N]["sandbox"]["account"]>;

/** The account that a node with the tests' secret derives for this provider's sandbox. */
export function testAccount<N extends ProviderName>(name: N): Account<N> {
  const sandbox: Sandbox = registry[name].sandbox;
  return sandboxAccount(name, sandbox, [testSecret]) as Account<N>;
}

/** The topic of bKash's notifications in the fixtures. The sandbox has none. */
export const snsTopicArn = "arn:aws:sns:ap-southeast-1:000000000000:sandbox";

/** The sandbox's account, plus the fields that only a real account has. */
export const providerAccount = (name: ProviderName): Readonly<Record<string, string>> => ({
  ...testAccount(name),
  ...(name === "bkash" && { SNS_TOPIC_ARN: snsTopicArn }),
});
