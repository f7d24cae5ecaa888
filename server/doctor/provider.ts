/**
 * The check of a provider's account: fetches an access token now, or makes the cheapest call that changes nothing. Shows the provider's own
 * words when it refuses.
 */
import { HubError } from "../errors.ts";
import type { StoredAccessToken } from "../provider/access-token.ts";
import { type EnabledProvider, type Mode, modeOf } from "../provider/enabled.ts";
import { CallFailed, Unreachable } from "../provider/http-client.ts";
import type { Probe } from "../provider/provider.ts";
import { displayNameOf, type Provider } from "../provider/provider.ts";
import { registry } from "../provider/registry.ts";
import { TokenDenied } from "../provider/token-client.ts";
import { type Check, error, type Finding, ok, warning } from "./check.ts";
import { clockText, listText } from "./text.ts";

export interface ProviderCheckOptions {
  enabled: EnabledProvider;
  provider: Provider;
  accessToken: Pick<StoredAccessToken, "renew"> | undefined;
  isProduction: boolean;
  /** A monotonic clock. */
  nowMs?: () => number;
}

/** 60 s, because a new token of Safaricom ends the old one, which payments use at that moment. */
const tokenKeptMs = 60_000;

export function providerCheck({ nowMs = () => performance.now(), ...options }: ProviderCheckOptions): Check {
  const { enabled, provider, accessToken } = options;
  let fetched: { expiresAt: Date; atMs: number } | undefined;

  const renew = async (tokens: Pick<StoredAccessToken, "renew">, signal: AbortSignal): Promise<string> => {
    if (fetched && nowMs() - fetched.atMs < tokenKeptMs) return `issued an access token a moment ago${until(fetched)}`;
    const { expiresAt, isFetched } = await tokens.renew();
    if (isFetched) {
      fetched = { expiresAt, atMs: nowMs() };
      return `issued an access token now${until(fetched)}`;
    }
    const found = provider.probe && (await provider.probe(signal));
    if (found) refuse(found);
    return `accepts the stored access token${until({ expiresAt })}; none was fetched, because the provider limits token calls`;
  };

  const ask = async (signal: AbortSignal): Promise<string> => {
    if (accessToken) return renew(accessToken, signal);
    if (!provider.probe) return "has no call that checks the account without an effect: it was not checked";
    refuse(await provider.probe(signal));
    return "accepts the credentials";
  };

  return {
    id: `provider.${enabled.name}`,
    name: nameOf(enabled.name),
    async run(signal) {
      try {
        return described(await ask(signal), options);
      } catch (cause) {
        return explain(cause, enabled);
      }
    },
  };
}

const until = ({ expiresAt }: { expiresAt: Date }): string => `, valid until ${clockText(expiresAt)}`;

/** The provider by the name that variables and calls have, and by the name that payers know. */
const nameOf = (name: string): string => `${name} (${displayNameOf(name)})`;

/** The subject of a sentence, after a sentence about what answers at the address. */
const subjects: Readonly<Record<Mode, (name: string) => string>> = {
  live: (name) => name,
  test: (name) => `This is the test environment of ${name}, which moves no money. It`,
  sandbox: (name) => `The built-in sandbox answers in place of ${name} and moves no money. It`,
};

const subjectOf = (enabled: EnabledProvider): string => subjects[modeOf(enabled)](nameOf(enabled.name));

function described(text: string, { enabled, isProduction }: ProviderCheckOptions): Finding {
  const message = `${subjectOf(enabled)} ${text}.`;
  const prefix = enabled.name.toUpperCase();
  if (enabled.hasOtherMode) {
    const what =
      "The credentials and the address belong to different environments, one to the test and one to the live one.";
    return warning(`${message} ${what}`, `Change ${credentialsOf(enabled)}, or ${prefix}_BASE_URL.`);
  }
  if (!isProduction || modeOf(enabled) === "live") return ok(message);
  const how = enabled.sandbox
    ? `remove ${enabled.name} from SANDBOX and set`
    : `remove ${prefix}_BASE_URL and set live values of`;
  return warning(message, `To take real money, ${how} ${credentialsOf(enabled)}.`);
}

/** The variables that the provider compares. */
function credentialsOf({ name }: EnabledProvider): string {
  const { credentials, variables } = registry[name].definition as {
    credentials?: readonly string[];
    variables: readonly string[];
  };
  return listText((credentials ?? variables).map((variable) => `${name.toUpperCase()}_${variable}`));
}

/** Throws `TokenDenied` for an answer that does not come from the API, or refuses the credentials. */
function refuse({ status, isJson, text }: Probe): void {
  if (status === 401 || status === 403 || status === 429 || status >= 500 || !isJson)
    throw new TokenDenied(status, text);
}

/** The error itself, or the one that caused it. */
function causeIn<T extends Error>(thrown: unknown, type: abstract new (...given: never[]) => T): T | undefined {
  for (let one = thrown; one instanceof Error; one = one.cause) if (one instanceof type) return one;
  return undefined;
}

function explain(thrown: unknown, enabled: EnabledProvider): Finding {
  const denied = causeIn(thrown, TokenDenied);
  if (denied) return explainAnswer(denied, enabled);
  const failed = causeIn(thrown, CallFailed);
  if (failed) return explainSilence(failed, enabled);
  const known = causeIn(thrown, HubError);
  if (known?.code === "not_ready")
    return warning(
      "Not checked: this node fetches no token while its TUKIO_SECRET conflicts with that of another node.",
      "Solve the check TUKIO_SECRET first.",
    );
  if (known?.code === "provider_unavailable")
    return warning(
      `Not checked: ${known.message}.`,
      "Run the doctor again in an hour. Payments wait for the next token too, if none is stored.",
    );
  return warning(
    "Not checked: access tokens are stored in PostgreSQL, which did not answer.",
    "Solve the check of PostgreSQL first.",
  );
}

function explainAnswer({ status, text }: TokenDenied, enabled: EnabledProvider): Finding {
  const subject = subjectOf(enabled);
  const words = text === "" ? "without a reason" : `with ${text}`;
  const said = `HTTP ${status} ${words}`;
  const address = `${enabled.name.toUpperCase()}_BASE_URL`;
  if (status === 429)
    return warning(
      `${subject} takes no more calls now: it answered ${said}.`,
      "Run the doctor again in some minutes; no payment can start meanwhile.",
    );
  if (status >= 500)
    return error(
      `${subject} does not work now: it answered ${said}.`,
      "Wait, and ask the provider if it lasts. Payments fail until then.",
    );
  if (status < 300 || status === 404)
    return error(
      `${subject} answered as no API does: ${said}.`,
      `Look whether ${address} (now ${enabled.baseUrl}) is the provider's API, and no proxy answers in its place.`,
    );
  return error(
    `${subject} refuses the credentials: it answered ${said}.`,
    `Compare ${credentialsOf(enabled)} with the provider's portal, and restart every node. Test credentials need the test address in ${address}.`,
  );
}

function explainSilence(failed: CallFailed, enabled: EnabledProvider): Finding {
  const subject = subjectOf(enabled);
  const host = enabled.sandbox ? "this node itself" : new URL(enabled.baseUrl).host;
  const advice = `Look whether this node reaches ${host}: DNS, firewall, and ${enabled.name.toUpperCase()}_BASE_URL.`;
  if (failed.code === "deadline") return error(`${subject} did not answer in time.`, advice);
  const what = failed instanceof Unreachable ? "cannot be reached" : "broke the connection";
  return error(`${subject} ${what}: ${failed.code}.`, advice);
}
