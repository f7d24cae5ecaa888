/** Where the Tukio server is, and the API key. The key is never printed. */
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

export async function connect(args: Arguments, env: Environment): Promise<Connected> {
  const url = args.value("url") ?? (env.TUKIO_URL || defaultUrl);
  const apiKey = await readKey(args.value("key-file"), env);
  try {
    return { url, apiKey, tukio: createTukio({ url, apiKey }) };
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}

/** `TUKIO_API_KEY` may be the server's list, whose first key is the current one. */
async function readKey(file: string | undefined, env: Environment): Promise<string> {
  if (file === undefined && env.TUKIO_API_KEY) return env.TUKIO_API_KEY.split(",", 1)[0]?.trim() ?? "";
  const path = file ?? defaultKeyFile;
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    const how = file === undefined ? "Set TUKIO_API_KEY, or use --key-file" : "Check --key-file";
    throw new UsageError(`there is no API key: ${path} cannot be read (${error.code}). ${how}`);
  });
  return text.trim();
}
