/** Calls of the API with the session's cookie. The types come from the API docs. */
import createClient from "openapi-fetch";
import type { Problem } from "../../merchant-sdk/model.ts";
import type { paths } from "../../merchant-sdk/schema.ts";
import { nodeUrl } from "./address.ts";

export const api = createClient<paths>({ baseUrl: nodeUrl, credentials: "same-origin" });

/** A refused or failed call, in words for the person at the screen. */
export class Fault extends Error {
  /** 0 if no answer arrived. */
  readonly status: number;
  readonly code: Problem["code"] | undefined;
  /** The invalid fields of a form, by name. */
  readonly fields: Readonly<Record<string, string>>;
  constructor(status: number, text: string, problem: Partial<Problem> = {}) {
    super(text);
    this.name = "Fault";
    this.status = status;
    this.code = problem.code;
    this.fields = Object.fromEntries((problem.errors ?? []).map(({ path, message }) => [path, message]));
  }
}

/** Resolves with the data of a call. Throws a `Fault`. */
export async function read<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call.catch((cause: unknown) => {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new Fault(0, "The server cannot be reached. Check the connection; the page tries again.");
  });
  if (!response.ok) throw faultOf(response, error);
  // An answer without a body has no data, and its type is `undefined`.
  return data as T;
}

function faultOf({ status, headers }: Response, error: unknown): Fault {
  const problem: Partial<Problem> = typeof error === "object" && error !== null ? error : {};
  const text = problem.detail ?? problem.title ?? `The server answered with the status ${status}.`;
  const waitS = headers.get("retry-after");
  return new Fault(status, status === 429 && waitS ? `${text} Try again in ${waitS} s.` : text, problem);
}

export const isFault = (error: unknown, status: number): boolean => error instanceof Fault && error.status === status;
