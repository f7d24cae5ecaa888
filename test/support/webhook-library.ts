/**
 * Other languages' libraries of Standard Webhooks. Uses those of the machine, and otherwise installs them into a folder of the test, from
 * the registry of their language. A developer without these registries sets PYTHONPATH or RUBYLIB to a copy.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { onTestFinished } from "vitest";
import { canInstall, installPackages } from "./debian.ts";

const exec = promisify(execFile);

/** A message as a backend received it, and the secret with which to verify it. */
export interface Attempt {
  secret: string;
  headers: Record<string, string>;
  text: string;
}

interface Runtime {
  program: string;
  env?: Record<string, string>;
}

export interface WebhookLibrary {
  language: string;
  /** What to install, for a person. */
  needs: string;
  runtime: Runtime;
  /** Fails unless the library can be loaded. */
  load: string;
  /** Reads attempts as JSON and prints for each whether the library accepts it. */
  verify: string;
  /** The option with which the program runs code of its command line. */
  option: string;
  install(folder: string): Promise<Runtime>;
}

const version = "1.1.0";

/** 30 s, so that a registry that does not answer leaves time for the test to say so. */
const installMs = 30_000;

async function installForPython(folder: string): Promise<Runtime> {
  const createEnvironment = () => exec("python3", ["-m", "venv", folder]);
  await createEnvironment().catch(async (error: unknown) => {
    if (!canInstall()) throw error;
    await installPackages(["python3-venv"]);
    await createEnvironment();
  });
  const program = join(folder, "bin/python");
  const options = ["--quiet", "--disable-pip-version-check", "--retries", "0", "--timeout", "15"];
  await exec(program, ["-m", "pip", "install", ...options, `standardwebhooks==${version}`], { timeout: installMs });
  return { program };
}

async function installForRuby(folder: string): Promise<Runtime> {
  const options = ["--no-document", "--install-dir", folder, "--version", version];
  await exec("gem", ["install", ...options, "standardwebhooks"], { timeout: installMs });
  return { program: "ruby", env: { GEM_PATH: folder } };
}

export const webhookLibraries: readonly WebhookLibrary[] = [
  {
    language: "Python",
    needs: "Python 3 with venv, and its package standardwebhooks",
    runtime: { program: "python3" },
    load: "import standardwebhooks",
    verify: `
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError
def accepts(attempt):
    try:
        Webhook(attempt["secret"]).verify(attempt["text"].encode(), attempt["headers"])
        return True
    except WebhookVerificationError:
        return False
print(json.dumps([accepts(attempt) for attempt in json.loads(sys.argv[1])]))`,
    option: "-c",
    install: installForPython,
  },
  {
    language: "Ruby",
    needs: "Ruby 3.3, and its gem standardwebhooks",
    runtime: { program: "ruby" },
    load: 'require "standardwebhooks"',
    verify: `
require "json"
require "standardwebhooks"
def accepts(attempt)
  StandardWebhooks::Webhook.new(attempt["secret"]).verify(attempt["text"], attempt["headers"])
  true
rescue StandardWebhooks::WebhookVerificationError
  false
end
puts JSON.generate(JSON.parse(ARGV[0]).map { |attempt| accepts(attempt) })`,
    option: "-e",
    install: installForRuby,
  },
];

export type Verify = (attempts: readonly Attempt[]) => Promise<boolean[]>;

/** Returns a function that verifies with the library, or why it cannot run. */
export async function openLibrary(library: WebhookLibrary): Promise<Verify | string> {
  const { language, needs, option, load, verify } = library;
  const run = async ({ program, env }: Runtime, ...args: string[]): Promise<string> => {
    const { stdout } = await exec(program, [option, ...args], { env: { ...process.env, ...env } });
    return stdout;
  };
  const verifyWith =
    (runtime: Runtime): Verify =>
    async (attempts) =>
      JSON.parse(await run(runtime, verify, JSON.stringify(attempts)));
  if ((await run(library.runtime, load).catch(() => undefined)) !== undefined) return verifyWith(library.runtime);
  const folder = await mkdtemp(join(tmpdir(), `tukio-${language}-`));
  onTestFinished(() => rm(folder, { recursive: true }));
  try {
    const runtime = await library.install(folder);
    await run(runtime, load);
    return verifyWith(runtime);
  } catch (error) {
    return `not run: install ${needs} (${reasonOf(error)})`;
  }
}

/** The last line that the program printed, or why it did not start. */
function reasonOf(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message: string };
  return (stderr || message).trim().split("\n").at(-1)?.trim() ?? "";
}
