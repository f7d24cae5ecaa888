/**
 * How much may come in over one connection after its upgrade: frames, control frames among them, and bytes. What comes is
 * counted before anybody reads it, so that a flood costs no more than counting it. A client is allowed more once it has
 * shown who it is.
 */
import type { Role } from "../auth/access.ts";

/** How many may come at once, and each second in the long run. */
interface Allowance {
  burst: number;
  perS: number;
}

/**
 * A stranger has to say who it is, once. A payer's page sends one frame to connect, one for each further order and a pong
 * every 25 s (three packets and requests where it polls): 256 frames let it watch dozens of orders, and are so few because
 * 300 connections that send all of theirs at once must not cost more than a second. A merchant's backend may watch a
 * thousand orders at once on one socket, again and again.
 */
export const allowances = {
  anonymous: { frames: { burst: 32, perS: 4 }, bytes: { burst: 32_768, perS: 1_024 } },
  payer: { frames: { burst: 256, perS: 10 }, bytes: { burst: 262_144, perS: 4_096 } },
  merchant: { frames: { burst: 4_096, perS: 500 }, bytes: { burst: 2_097_152, perS: 262_144 } },
} as const satisfies Record<Role, Record<"frames" | "bytes", Allowance>>;

const ranks: Record<Role, number> = { anonymous: 0, payer: 1, merchant: 2 };

const lengthBits = 0x7f;
const maskBit = 0x80;
const maskBytes = 4;

/** What may still come over one connection. Every open one has such an object, so it holds numbers and nothing else. */
export class Flow {
  #role: Role = "anonymous";
  #frames: number = allowances.anonymous.frames.burst;
  #bytes: number = allowances.anonymous.bytes.burst;
  #filledMs: number;

  // Where in a frame the next byte is (RFC 6455, section 5.2).
  #isSecond = false;
  #lengthBytes = 0;
  #length = 0;
  #mask = 0;
  #skip = 0;

  /** `nowMs` is a clock that only moves forward, here and below. */
  constructor(nowMs: number) {
    this.#filledMs = nowMs;
  }

  get role(): Role {
    return this.#role;
  }

  /** Allows what such a client may do from now on. A lower role changes nothing. */
  raise(to: Role): void {
    if (ranks[to] <= ranks[this.#role]) return;
    this.#role = to;
    this.#frames = allowances[to].frames.burst;
    this.#bytes = allowances[to].bytes.burst;
  }

  /** Counts so much that has come; false when it is more than may. */
  take(frames: number, bytes: number, nowMs: number): boolean {
    const allowed = allowances[this.#role];
    const passedS = (nowMs - this.#filledMs) / 1_000;
    this.#filledMs = nowMs;
    this.#frames = Math.min(allowed.frames.burst, this.#frames + passedS * allowed.frames.perS) - frames;
    this.#bytes = Math.min(allowed.bytes.burst, this.#bytes + passedS * allowed.bytes.perS) - bytes;
    return this.#frames >= 0 && this.#bytes >= 0;
  }

  /** Counts the bytes of a chunk and the WebSocket frames that begin in it; false when they are more than may come. */
  takeChunk(chunk: Uint8Array, nowMs: number): boolean {
    return this.take(this.#framesIn(chunk), chunk.length, nowMs);
  }

  #framesIn(chunk: Uint8Array): number {
    let frames = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const here = Math.min(this.#skip, chunk.length - at);
        this.#skip -= here;
        at += here;
        continue;
      }
      const byte = chunk[at] ?? 0;
      at += 1;
      if (this.#lengthBytes > 0) this.#readLength(byte);
      else if (this.#isSecond) this.#readSecond(byte);
      else {
        frames += 1;
        this.#isSecond = true;
      }
    }
    return frames;
  }

  /** The frame's second byte: whether there is a mask, and the length or how many bytes tell it. */
  #readSecond(byte: number): void {
    this.#isSecond = false;
    this.#mask = byte & maskBit ? maskBytes : 0;
    const length = byte & lengthBits;
    if (length < 126) this.#skip = length + this.#mask;
    else this.#lengthBytes = length === 126 ? 2 : 8;
    this.#length = 0;
  }

  #readLength(byte: number): void {
    this.#length = this.#length * 256 + byte;
    this.#lengthBytes -= 1;
    if (this.#lengthBytes === 0) this.#skip = this.#length + this.#mask;
  }
}
