/** The settings that must be the same on all nodes, because any node may do the work of another. */
import { type EnabledProvider, namesByMode } from "../provider/enabled.ts";
import { providerNames, registry } from "../provider/registry.ts";

/** `TUKIO_SECRET` is not among them: nodes compare it more often, and refuse to serve with a wrong one. */
const names = [
  ...["PUBLIC_URL", "TUKIO_API_KEY", "ENDPOINT_URL", "ENDPOINT_SECRET", "SMTP_URL", "MAIL_FROM", "MERCHANT_EMAIL"],
  ...["SMS_PROVIDER", "SMS_API_KEY", "SMS_API_SECRET", "SMS_USERNAME", "SMS_FROM", "SMS_URL"],
  ...providerNames.flatMap((name) =>
    [...registry[name].definition.variables, "BASE_URL"].map((variable) => `${name.toUpperCase()}_${variable}`),
  ),
];

/** Those that are set, by name. `SANDBOX` is the sandboxes that are enabled, whether or not it is set. */
export function commonSettingsOf(
  env: Readonly<Record<string, string | undefined>>,
  enabled: readonly EnabledProvider[],
): Readonly<Record<string, string>> {
  const set = names.map((name) => [name, env[name] ?? ""]).filter(([, value]) => value !== "");
  return Object.freeze({ ...Object.fromEntries(set), SANDBOX: namesByMode(enabled).sandbox.join(",") });
}
