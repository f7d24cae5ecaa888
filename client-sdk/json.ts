/** What a text says, or undefined: nothing that we understand is nothing to pass on. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
