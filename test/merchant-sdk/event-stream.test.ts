/** Reading a stream of server-sent events. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readMessages, type StreamMessage } from "../../merchant-sdk/event-stream.ts";

async function read(pieces: readonly Uint8Array[]): Promise<StreamMessage[]> {
  async function* stream(): AsyncGenerator<Uint8Array> {
    yield* pieces;
  }
  const messages: StreamMessage[] = [];
  for await (const message of readMessages(stream())) messages.push(message);
  return messages;
}

const text = [
  ": a comment\n\n",
  "id: a\n\n",
  'id: b\ndata: {"name":"চা ☕"}\n\n',
  "event: status\r\ndata:two\r\ndata: lines\r\n\r\n",
  "retry: 1000\nid:\ndata: x: y\n\n",
  "id: cut\ndata: never ended",
].join("");

const messages = [
  { id: undefined, data: undefined },
  { id: "a", data: undefined },
  { id: "b", data: '{"name":"চা ☕"}' },
  { id: "b", data: "two\nlines" },
  { id: "", data: "x: y" },
];

describe("readMessages", () => {
  it("reads ids and data, and drops a message that has not ended", async () => {
    expect(await read([Buffer.from(text)])).toEqual(messages);
  });

  it("reads the same wherever the bytes are cut", async () => {
    const bytes = Buffer.from(text);
    const cuts = fc.uniqueArray(fc.nat(bytes.length), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(cuts, async (places) => {
        const ends = [...places, bytes.length].toSorted((a, b) => a - b);
        expect(await read(ends.map((end, nth) => bytes.subarray(ends[nth - 1] ?? 0, end)))).toEqual(messages);
      }),
    );
  });
});
