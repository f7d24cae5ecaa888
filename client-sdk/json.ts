/** Parses JSON. Returns undefined for a text that is not JSON, so that the caller ignores it. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
