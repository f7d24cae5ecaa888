/** The limits of an upgraded connection. Frames are counted as a WebSocket parses them, in chunks of any size. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Role } from "../../server/auth/access.ts";
import {
  allowances,
  createInboundFlow,
  type InboundFlow,
  raiseRole,
  take,
  takeChunk,
} from "../../server/http/inbound-limit.ts";

const oneFrame = { frames: 1, bytes: 0 };

/** One frame of a client. */
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

/** How many frames a flow counts: the burst without what is left of it. */
function countIn(chunks: readonly Buffer[]): number {
  const burst = allowances.merchant.frames.burst;
  const flow = createInboundFlow(0);
  raiseRole(flow, "merchant");
  for (const chunk of chunks) expect(takeChunk(flow, chunk, 0)).toBe(true);
  let left = 0;
  while (take(flow, oneFrame, 0)) left += 1;
  return burst - left;
}

describe("inbound limit", () => {
  it("counts frames in chunks of any size (G12)", () => {
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

describe.each<Role>(["anonymous", "payer", "merchant"])("inbound limit of %s clients", (role) => {
  const { frames, bytes } = allowances[role];
  const start = (): InboundFlow => {
    const flow = createInboundFlow(0);
    raiseRole(flow, role);
    return flow;
  };

  it("allows a burst of frames, and a rate after it (G12)", () => {
    const flow = start();
    expect(take(flow, { frames: frames.burst, bytes: 0 }, 0)).toBe(true);
    expect(take(flow, oneFrame, 0)).toBe(false);
    const again = start();
    expect(take(again, { frames: frames.burst, bytes: 0 }, 0)).toBe(true);
    expect(take(again, { frames: frames.perS, bytes: 0 }, 1_000)).toBe(true);
    expect(take(again, oneFrame, 1_000)).toBe(false);
  });

  it("allows a burst of bytes, and a rate after it (G12)", () => {
    const flow = start();
    expect(take(flow, { frames: 0, bytes: bytes.burst }, 0)).toBe(true);
    expect(take(flow, { frames: 0, bytes: bytes.perS }, 1_000)).toBe(true);
    expect(take(flow, { frames: 0, bytes: 1 }, 1_000)).toBe(false);
  });

  it("allows no more than the burst after a pause", () => {
    const flow = start();
    expect(take(flow, { frames: frames.burst + 1, bytes: 0 }, 3_600_000)).toBe(false);
  });
});

it("keeps the higher of two roles", () => {
  const flow = createInboundFlow(0);
  raiseRole(flow, "merchant");
  raiseRole(flow, "payer");
  expect(flow.role).toBe("merchant");
  expect(take(flow, { frames: allowances.payer.frames.burst + 1, bytes: 0 }, 0)).toBe(true);
});
