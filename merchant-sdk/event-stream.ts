/**
 * Reads a stream of server-sent events. Not with the library eventsource-parser, because its versions for Node 20 do not report an id
 * without data, with which the server moves the place from which the stream continues.
 */

/** A message of the stream. Without data it only moves the place. */
export interface StreamMessage {
  /** The id of this message or of an earlier one. */
  id: string | undefined;
  data: string | undefined;
}

/** Yields the messages of a stream whose pieces may be cut anywhere. A message that has not ended is not yielded. */
export async function* readMessages(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<StreamMessage, void, undefined> {
  let id: string | undefined;
  let data: string[] = [];
  for await (const line of readLines(pieces)) {
    const [, field, value = ""] = /^(\w+)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "id") id = value;
    if (field === "data") data.push(value);
    if (line !== "") continue;
    yield { id, data: data.length > 0 ? data.join("\n") : undefined };
    data = [];
  }
}

async function* readLines(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of pieces) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split(/\r?\n/);
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
