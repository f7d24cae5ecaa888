/** The pure functions of the SDK: the wait, the connection's transitions, the ladder of transports and the parsers. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { delayMs, readRetryAfter } from "../../client-sdk/backoff.ts";
import { skewOf } from "../../client-sdk/clock.ts";
import { type Connection, type Input, step } from "../../client-sdk/connection.ts";
import { createLadder } from "../../client-sdk/ladder.ts";
import { readEvent } from "../../client-sdk/protocol.ts";
import { createEventReader } from "../../client-sdk/transport/eventsource.ts";
import { eventOf } from "../support/event.ts";
import { createScriptedTransport } from "../support/scripted-transport.ts";

describe("wait", () => {
  it("is drawn between zero and a doubling limit", () => {
    const most = [1, 2, 3, 6, 50, 5_000].map((failures) => delayMs(failures, 0, () => 1));
    expect(most).toEqual([500, 1_000, 2_000, 15_000, 15_000, 15_000]);
    expect(delayMs(6, 0, () => 0)).toBe(0);
  });

  it("is never shorter than Retry-After, up to five minutes", () => {
    fc.assert(
      fc.property(
        fc.nat(20),
        fc.nat(300_000),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (failures, retryAfterMs, random) => {
          expect(delayMs(failures, retryAfterMs, () => random)).toBeGreaterThanOrEqual(retryAfterMs);
        },
      ),
    );
    expect(delayMs(1, 86_400_000, () => 0)).toBe(300_000);
  });

  it("reads Retry-After as seconds or as a date", () => {
    expect(readRetryAfter("3")).toBe(3_000);
    expect(readRetryAfter("0")).toBe(0);
    expect(readRetryAfter(new Date(Date.now() + 60_000).toUTCString())).toBeGreaterThan(55_000);
    expect(readRetryAfter(new Date(0).toUTCString())).toBe(0);
    expect([null, "", "soon"].map(readRetryAfter)).toEqual([undefined, undefined, undefined]);
  });
});

describe("connection", () => {
  it("reaches closed by a refusal or the caller, and never leaves it", () => {
    const input = fc.constantFrom<Input>("opened", "dropped", "passed", "expired", "elapsed", "woken");
    fc.assert(
      fc.property(
        fc.array(input),
        fc.constantFrom<Input>("refused", "ended"),
        fc.array(input),
        (before, end, after) => {
          const walk = (from: Connection, inputs: Input[]): Connection => inputs.reduce(step, from);
          expect(walk(walk("connecting", [...before, end]), after)).toBe("closed");
          expect(walk("connecting", before)).not.toBe("closed");
        },
      ),
    );
  });
});

describe("clock", () => {
  const event = eventOf({ id: "one", version: 1, occurredAt: "2026-11-20T21:00:00.000Z" });
  const occurredAtMs = Date.parse(event.occurredAt);

  it("is compared with the time that the server states", () => {
    const sent = { ...event, sentAt: "2026-11-20T21:00:40.000Z" };
    expect(skewOf(sent, undefined, occurredAtMs + 40_000)).toBe(0);
    expect(skewOf(sent, -5, occurredAtMs + 90_000)).toBe(50_000);
    expect(skewOf(sent, undefined, occurredAtMs)).toBe(-40_000);
  });

  it("is otherwise compared with the newest event of all, because none arrives before it occurred", () => {
    expect(skewOf(event, undefined, occurredAtMs + 40_000)).toBe(40_000);
    expect(skewOf(event, 40_000, occurredAtMs + 100)).toBe(100);
    expect(skewOf(event, 100, occurredAtMs + 40_000)).toBe(100);
    expect(skewOf({ ...event, sentAt: "now" }, 100, occurredAtMs)).toBe(0);
  });
});

describe("ladder", () => {
  const [best, second, third] = ["best", "second", "third"].map(createScriptedTransport);
  if (!best || !second || !third) throw new Error("expected three transports");

  it("moves down one by one, then reports that the caller must wait and starts again", () => {
    const ladder = createLadder([best, second, third]);
    expect([ladder.current(), ladder.pass(), ladder.current(), ladder.pass(), ladder.current()]).toEqual([
      best,
      true,
      second,
      true,
      third,
    ]);
    expect(ladder.pass()).toBe(false);
    expect(ladder.current()).toBe(best);
  });

  it("has the last one as the spare, until it is the current one", () => {
    const ladder = createLadder([best, second, third]);
    expect(ladder.spare()).toBe(third);
    ladder.takeSpare();
    expect([ladder.current(), ladder.spare()]).toEqual([third, undefined]);
    expect(createLadder([best]).spare()).toBeUndefined();
  });

  it("returns to the best after one minute on a lower one, and after two if the best failed again", () => {
    let now = 0;
    const ladder = createLadder([best, second], () => now);
    const climbsAfter = (ms: number): boolean => {
      now += ms;
      return ladder.climb();
    };
    ladder.pass();
    expect([climbsAfter(0), climbsAfter(59_999), climbsAfter(1)]).toEqual([false, false, true]);
    expect(ladder.current()).toBe(best);
    ladder.pass();
    expect([climbsAfter(0), climbsAfter(119_999), climbsAfter(1)]).toEqual([false, false, true]);
    expect(climbsAfter(0)).toBe(false);
    ladder.pass();
    expect([climbsAfter(0), climbsAfter(60_000)]).toEqual([false, true]);
  });
});

describe("event stream", () => {
  it("yields the same events however its text is cut", () => {
    const text =
      ': hello\r\n\nid: 1\nevent: status\ndata: {"a":1}\n\n: still here\n\ndata:{"b":"é"}\r\n\r\ndata: {\n\n';
    fc.assert(
      fc.property(fc.array(fc.nat(text.length)), (cuts) => {
        const events: unknown[] = [];
        const read = createEventReader((event) => events.push(event));
        const at = [0, ...cuts.sort((a, b) => a - b), text.length];
        for (const [index, end] of at.slice(1).entries()) read(text.slice(at[index], end));
        expect(events).toEqual([{ a: 1 }, { b: "é" }, undefined]);
      }),
    );
  });
});

describe("state", () => {
  it("is rejected if a required field is missing or invalid", () => {
    const event = eventOf({ id: "one", version: 1 });
    expect(readEvent(event)).toBe(event);
    for (const field of ["id", "orderId", "version", "status", "settled", "amountMinor", "currency", "payment"]) {
      expect(readEvent({ ...event, [field]: undefined })).toBeUndefined();
    }
    expect(readEvent({ ...event, amountMinor: 1.5 })).toBeUndefined();
  });

  it("keeps results of unknown kinds, drops what is no result, and never the state", () => {
    const result = { id: "seat-A1", kind: "ticket", title: "Seat A1", code: "TUK-7F3A" };
    const unknown = { id: "one", kind: "hologram", title: "Look", shape: 3 };
    const event = { ...eventOf({ id: "one", version: 4 }), results: [result, unknown] };
    expect(readEvent(event)).toBe(event);
    const damaged = [null, 1, "x", {}, { ...result, title: 1 }, { ...result, url: { href: "x" } }];
    expect(readEvent({ ...event, results: [...damaged, result] })).toEqual({ ...event, results: [result] });
    for (const results of [null, {}, "x", 1])
      expect(readEvent({ ...event, results })).toEqual({ ...event, results: [] });
  });
});
