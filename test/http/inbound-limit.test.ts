/** How much may come in over an upgraded connection: frames are counted as a WebSocket reads them, however they are cut. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Role } from "../../server/auth/access.ts";
import { allowances, Flow } from "../../server/http/inbound-limit.ts";

/** One masked frame of a client's, in the shortest form of its length or in a longer one. */
function frame(opcode: number, payload: Buffer, isMasked = true): Buffer {
  const mask = Buffer.from([1, 2, 3, 4]);
  const { length } = payload;
  const small = length < 126 ? length : length < 65_536 ? 126 : 127;
  const head = Buffer.from([0x80 | opcode, (isMasked ? 0x80 : 0) | small]);
  const wide = Buffer.alloc(small === 126 ? 2 : small === 127 ? 8 : 0);
  if (small === 126) wide.writeUInt16BE(length);
  if (small === 127) wide.writeBigUInt64BE(BigInt(length));
  return Buffer.concat([head, wide, ...(isMasked ? [mask] : []), payload]);
}

const frames = fc.array(
  fc.record({
    opcode: fc.constantFrom(0x0, 0x1, 0x2, 0x8, 0x9, 0xa),
    length: fc.oneof(fc.nat(130), fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_000)),
    isMasked: fc.boolean(),
  }),
  { maxLength: 12 },
);

/** How many frames a flow counts: as many as it does not have any more. */
function countIn(chunks: readonly Buffer[]): number {
  const burst = allowances.merchant.frames.burst;
  const flow = new Flow(0);
  flow.raise("merchant");
  for (const chunk of chunks) expect(flow.takeChunk(chunk, 0)).toBe(true);
  let left = 0;
  while (flow.take(1, 0, 0)) left += 1;
  return burst - left;
}

describe("frames", () => {
  it("are counted wherever the stream is cut", () => {
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1 }), (all, cuts) => {
        const stream = Buffer.concat(
          all.map(({ opcode, length, isMasked }) => frame(opcode, Buffer.alloc(length, 0x89), isMasked)),
        );
        const chunks: Buffer[] = [];
        for (let at = 0, index = 0; at < stream.length; index += 1) {
          const size = cuts[index % cuts.length] ?? 1;
          chunks.push(stream.subarray(at, at + size));
          at += size;
        }
        expect(countIn(chunks)).toBe(all.length);
      }),
      { numRuns: 50 },
    );
  });
});

describe.each<Role>(["anonymous", "payer", "merchant"])("a %s", (role) => {
  const { frames, bytes } = allowances[role];
  const start = (): Flow => {
    const flow = new Flow(0);
    flow.raise(role);
    return flow;
  };

  it("may send so many frames at once, and so many a second after that", () => {
    const flow = start();
    expect(flow.take(frames.burst, 0, 0)).toBe(true);
    expect(flow.take(1, 0, 0)).toBe(false);
    const again = start();
    expect(again.take(frames.burst, 0, 0)).toBe(true);
    expect(again.take(frames.perS, 0, 1_000)).toBe(true);
    expect(again.take(1, 0, 1_000)).toBe(false);
  });

  it("may send so many bytes at once, and so many a second after that", () => {
    const flow = start();
    expect(flow.take(0, bytes.burst, 0)).toBe(true);
    expect(flow.take(0, bytes.perS, 1_000)).toBe(true);
    expect(flow.take(0, 1, 1_000)).toBe(false);
  });

  it("does not save up more than what may come at once", () => {
    const flow = start();
    expect(flow.take(frames.burst + 1, 0, 3_600_000)).toBe(false);
  });
});

it("whoever has shown more is not allowed less again", () => {
  const flow = new Flow(0);
  flow.raise("merchant");
  flow.raise("payer");
  expect(flow.role).toBe("merchant");
  expect(flow.take(allowances.payer.frames.burst + 1, 0, 0)).toBe(true);
});
