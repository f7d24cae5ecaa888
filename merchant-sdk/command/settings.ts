/** Finds the address of the Tukio server, and the API key. The key is never printed. */
import { readFile } from "node:fs/promises";
import { createTukio, type Tukio } from "../client.ts";
import { type Arguments, UsageError } from "./arguments.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const defaultUrl = "http://localhost:3000";
const defaultKeyFile = ".tukio/api-key";

export interface Connected {
  url: string;
  apiKey: string;
  tukio: Tukio;
}

/** Throws a `UsageError` with every fault of the arguments, those of the server's address and the key included. */
export async function connect(args: Arguments, env: Environment): Promise<Connected> {
  const given = args.value("url");
  const url = given ?? (env.TUKIO_URL || defaultUrl);
  const source = given === undefined ? "TUKIO_URL" : "--url";
  if (!/^https?:\/\//i.test(url)) args.refuse(`${source} must start with http:// or https://, such as ${defaultUrl}`);
  const apiKey = await readKey(args, env);
  args.check();
  try {
    return { url, apiKey, tukio: createTukio({ url, apiKey }) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UsageError(error.message.replace(/^url/, source).replace(/^apiKey/, "the API key"));
  }
}

/** `TUKIO_API_KEY` may be the server's list, whose first key is the current one. */
async function readKey(args: Arguments, env: Environment): Promise<string> {
  const file = args.value("key-file");
  if (file === undefined && env.TUKIO_API_KEY) return env.TUKIO_API_KEY.split(",", 1)[0]?.trim() ?? "";
  const path = file ?? defaultKeyFile;
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    const how = file === undefined ? "Set TUKIO_API_KEY, or use --key-file" : "Check --key-file";
    args.refuse(`there is no API key: ${path} cannot be read (${(error as NodeJS.ErrnoException).code}). ${how}`);
    return "";
  }
}
