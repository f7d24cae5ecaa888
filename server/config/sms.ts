/** Reads the SMS gateway: `SMS_PROVIDER` and its variables. */
import { z } from "zod";
import { issueSentence } from "../issue.ts";
import { httpUrl, optional } from "./providers.ts";

interface CommonSettings {
  /** Without a slash at the end. */
  readonly url: string;
  readonly apiKey: string;
  /** The registered sender. */
  readonly from?: string;
}

export type SmsConfig =
  | ({ readonly provider: "africastalking"; readonly username: string } & CommonSettings)
  | ({ readonly provider: "beem"; readonly apiSecret: string; readonly from: string } & CommonSettings)
  | ({ readonly provider: "http" } & CommonSettings);

type Environment = Readonly<Record<string, string | undefined>>;

const africasTalkingUrl = "https://api.africastalking.com";
const africasTalkingTestUrl = "https://api.sandbox.africastalking.com";
const beemUrl = "https://apisms.beem.africa";

const text = z.string().max(512);

/** At most 11 letters and digits, or a number: networks accept no other sender. */
const sender = z.string().regex(/^(?=.*[A-Za-z])[A-Za-z0-9 ._&-]{1,11}$|^\+?\d{3,15}$/, {
  error: "must be a name of at most 11 letters and digits, or a number",
});

const variables = {
  africastalking: z.object({
    SMS_API_KEY: text,
    SMS_USERNAME: text,
    SMS_FROM: optional(sender),
    SMS_URL: optional(httpUrl),
  }),
  beem: z.object({ SMS_API_KEY: text, SMS_API_SECRET: text, SMS_FROM: sender, SMS_URL: optional(httpUrl) }),
  http: z.object({ SMS_API_KEY: text, SMS_URL: httpUrl, SMS_FROM: optional(text.max(64)) }),
} as const;

type Provider = keyof typeof variables;

const isProvider = (name: string): name is Provider => Object.hasOwn(variables, name);

/** Every variable but `SMS_PROVIDER`. */
const names = ["SMS_API_KEY", "SMS_API_SECRET", "SMS_USERNAME", "SMS_FROM", "SMS_URL"] as const;

/** Undefined if no variable is set. Every problem is added to `problems`. */
export function readSms(
  env: Environment,
  { isProduction, problems }: { isProduction: boolean; problems: string[] },
): SmsConfig | undefined {
  const set = names.filter((name) => (env[name] ?? "") !== "");
  const provider = env.SMS_PROVIDER ?? "";
  const found: string[] = [];
  const settings = readSettings(provider, { env, set, problems: found });
  if (settings && isProduction && !settings.url.startsWith("https:"))
    found.push("SMS_URL: must be https in production");
  problems.push(...found);
  return found.length === 0 ? settings : undefined;
}

interface Source {
  env: Environment;
  /** The variables that have a value. */
  set: readonly string[];
  problems: string[];
}

function readSettings(provider: string, { env, set, problems }: Source): SmsConfig | undefined {
  if (provider === "") {
    if (set.length > 0) problems.push(`SMS_PROVIDER: is needed beside ${set[0]}`);
    return undefined;
  }
  if (!isProvider(provider)) {
    problems.push(`SMS_PROVIDER: must be one of ${Object.keys(variables).join(", ")}`);
    return undefined;
  }
  const known = Object.keys(variables[provider].shape);
  problems.push(...set.filter((name) => !known.includes(name)).map((name) => `${name}: is no variable of ${provider}`));
  const given = Object.fromEntries(set.map((name) => [name, env[name]]));
  try {
    return settingsOf(provider, given);
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const sentences = error.issues.map(({ path: [name = ""], message }) =>
      set.includes(String(name))
        ? `${String(name)}: ${message}`
        : `${String(name)}: is needed with SMS_PROVIDER=${provider}`,
    );
    problems.push(...sentences);
    return undefined;
  }
}

/** Throws `ZodError`. */
function settingsOf(provider: Provider, given: Record<string, unknown>): SmsConfig {
  const options = { error: issueSentence };
  if (provider === "africastalking") {
    const {
      SMS_API_KEY: apiKey,
      SMS_USERNAME: username,
      SMS_FROM,
      SMS_URL,
    } = variables[provider].parse(given, options);
    const url = SMS_URL ?? (username === "sandbox" ? africasTalkingTestUrl : africasTalkingUrl);
    return { provider, url, apiKey, username, ...(SMS_FROM && { from: SMS_FROM }) };
  }
  if (provider === "beem") {
    const found = variables[provider].parse(given, options);
    const { SMS_API_KEY: apiKey, SMS_API_SECRET: apiSecret, SMS_FROM: from, SMS_URL: url = beemUrl } = found;
    return { provider, url, apiKey, apiSecret, from };
  }
  const { SMS_API_KEY: apiKey, SMS_URL: url, SMS_FROM } = variables[provider].parse(given, options);
  return { provider, url, apiKey, ...(SMS_FROM && { from: SMS_FROM }) };
}
