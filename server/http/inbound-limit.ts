/**
 * Limits the frames and bytes that come in over one connection after its upgrade.
 *
 * Guarantees (G12): a chunk is counted before anything reads it, so a flood costs no more than the counting. Control frames
 * count as frames. A client is allowed more once it has proved its role.
 * Does not guarantee: that frames are valid. The WebSocket library checks that.
 */
import type { Role } from "../auth/access.ts";

/** A token bucket: `burst` at once, and `perS` each second on average. */
interface Allowance {
  burst: number;
  perS: number;
}

/**
 * An unauthenticated client sends its token, once.
 *
 * A payer's page sends one frame to connect, one per further order, and a pong every 25 s (three packets and requests when
 * it polls). 256 frames let it watch dozens of orders. They are not more because 300 connections that send all their
 * frames at once must cost less than a second.
 *
 * A merchant's backend may watch a thousand orders on one socket at once, repeatedly.
 */
export const allowances = {
  anonymous: { frames: { burst: 32, perS: 4 }, bytes: { burst: 32_768, perS: 1_024 } },
  payer: { frames: { burst: 256, perS: 10 }, bytes: { burst: 262_144, perS: 4_096 } },
  merchant: { frames: { burst: 4_096, perS: 500 }, bytes: { burst: 2_097_152, perS: 262_144 } },
} as const satisfies Record<Role, Record<"frames" | "bytes", Allowance>>;

const ranks: Record<Role, number> = { anonymous: 0, payer: 1, merchant: 2 };

/** Fields of a frame's header (RFC 6455, section 5.2). */
const lengthBits = 0x7f;
const maskBit = 0x80;
const maskBytes = 4;

/** The frames and bytes that one connection may still send. It holds only numbers, because every open connection has one. */
export interface InboundFlow {
  role: Role;
  frames: number;
  bytes: number;
  /** Monotonic time of the last refill. */
  filledMs: number;
  /** Position of the next byte in its frame: whether it is the header's second byte, … */
  isSecond: boolean;
  /** … how many bytes of the extended length follow, and the length so far, … */
  lengthBytes: number;
  length: number;
  /** … how many bytes of the mask follow the length, … */
  mask: number;
  /** … and how many bytes of mask and payload remain. */
  skip: number;
}

/** `nowMs` is a monotonic clock, here and below. */
export const createInboundFlow = (nowMs: number): InboundFlow => ({
  role: "anonymous",
  frames: allowances.anonymous.frames.burst,
  bytes: allowances.anonymous.bytes.burst,
  filledMs: nowMs,
  isSecond: false,
  lengthBytes: 0,
  length: 0,
  mask: 0,
  skip: 0,
});

/** Grants the allowance of the role. A lower role than the present one changes nothing. */
export function raiseRole(flow: InboundFlow, role: Role): void {
  if (ranks[role] <= ranks[flow.role]) return;
  flow.role = role;
  flow.frames = allowances[role].frames.burst;
  flow.bytes = allowances[role].bytes.burst;
}

/** Counts what came in. Returns false when it exceeds the allowance. */
export function take(flow: InboundFlow, { frames, bytes }: { frames: number; bytes: number }, nowMs: number): boolean {
  const allowed = allowances[flow.role];
  const passedS = (nowMs - flow.filledMs) / 1_000;
  flow.filledMs = nowMs;
  flow.frames = Math.min(allowed.frames.burst, flow.frames + passedS * allowed.frames.perS) - frames;
  flow.bytes = Math.min(allowed.bytes.burst, flow.bytes + passedS * allowed.bytes.perS) - bytes;
  return flow.frames >= 0 && flow.bytes >= 0;
}

/** Counts a chunk and the WebSocket frames that begin in it. Returns false when they exceed the allowance. */
export const takeChunk = (flow: InboundFlow, chunk: Uint8Array, nowMs: number): boolean =>
  take(flow, { frames: countFrames(flow, chunk), bytes: chunk.length }, nowMs);

function countFrames(flow: InboundFlow, chunk: Uint8Array): number {
  let frames = 0;
  let at = 0;
  while (at < chunk.length) {
    if (flow.skip > 0) {
      const skipped = Math.min(flow.skip, chunk.length - at);
      flow.skip -= skipped;
      at += skipped;
      continue;
    }
    const byte = chunk[at] ?? 0;
    at += 1;
    if (flow.lengthBytes > 0) readLength(flow, byte);
    else if (flow.isSecond) readSecond(flow, byte);
    else {
      frames += 1;
      flow.isSecond = true;
    }
  }
  return frames;
}

/** The second byte has the mask bit, and the length or the size of the extended length. */
function readSecond(flow: InboundFlow, byte: number): void {
  flow.isSecond = false;
  flow.mask = byte & maskBit ? maskBytes : 0;
  const length = byte & lengthBits;
  if (length < 126) flow.skip = length + flow.mask;
  else flow.lengthBytes = length === 126 ? 2 : 8;
  flow.length = 0;
}

function readLength(flow: InboundFlow, byte: number): void {
  flow.length = flow.length * 256 + byte;
  flow.lengthBytes -= 1;
  if (flow.lengthBytes === 0) flow.skip = flow.length + flow.mask;
}
