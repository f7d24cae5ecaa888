/**
 * The guarantees of a watch, which do not depend on the transport: the tests control every link. The transports are
 * tested with real nodes in contract.test.ts.
 */
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, onTestFinished, vi } from "vitest";
import {
  ComeBack,
  type OrderWatch,
  Refusal,
  type Snapshot,
  type StateStorage,
  type StatusEvent,
  WatchError,
  type WatchOptions,
  watchOrder,
} from "../../client-sdk/index.ts";
import { eventOf } from "../support/event.ts";
import { createScriptedTransport, type HeldLink, type ScriptedTransport } from "../support/scripted-transport.ts";

const url = "http://tukio.example";
const orderId = "ORD-1";

interface Watching {
  watch: OrderWatch;
  transport: ScriptedTransport;
  /** Every snapshot so far. */
  snapshots: Snapshot[];
}

function start(options: Partial<WatchOptions> = {}): Watching {
  const transport = createScriptedTransport();
  const watch = watchOrder({ url, orderId, token: "first", transports: [transport], ...options });
  onTestFinished(watch.close);
  const snapshots = [watch.snapshot()];
  watch.subscribe((snapshot) => snapshots.push(snapshot));
  return { watch, transport, snapshots };
}

const until = (fits: () => boolean): Promise<unknown> => vi.waitUntil(fits, { interval: 2 });

const state = (version: number, event: Partial<StatusEvent> = {}): StatusEvent =>
  eventOf({ id: "one", version, ...event });

const paid = (version: number): StatusEvent => state(version, { status: "succeeded", settled: true });

/** A storage like a browser's `sessionStorage`. */
function createStorage(): StateStorage & { items: Map<string, string> } {
  const items = new Map<string, string>();
  return { items, getItem: (key) => items.get(key) ?? null, setItem: (key, value) => void items.set(key, value) };
}

/** Every wait before a reconnect is the shortest of its range, because no test here depends on its length. */
beforeEach(() => void vi.spyOn(Math, "random").mockReturnValue(0));
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("state", () => {
  it("is never replaced by an equal one, an older one or an invalid value (G5)", async () => {
    const { watch, transport, snapshots } = start();
    const { onOpen, onEvent } = await transport.link(1);
    onOpen();
    for (const version of [1, 3, 2, 3, 1, 4]) onEvent(state(version));
    for (const nonsense of [undefined, null, "text", {}, { id: "one", version: 9 }, [state(9)]]) onEvent(nonsense);
    expect(watch.snapshot().event?.version).toBe(4);
    expect(snapshots.flatMap(({ event }) => event?.version ?? [])).toEqual([1, 3, 4]);
  });

  it("starts again with a new id, which is a different order", async () => {
    const { watch, transport } = start();
    const link = await transport.link(1);
    link.onEvent(state(7));
    link.onEvent(state(2, { id: "two" }));
    expect(watch.snapshot().event).toMatchObject({ id: "two", version: 2 });
    link.drop();
    expect((await transport.link(2)).target.after).toBe(2);
  });

  it("keeps unknown statuses, reasons and fields", async () => {
    const { watch, transport } = start();
    const event = { ...state(1), status: "refunded", reason: "because", more: { of: "it" } };
    (await transport.link(1)).onEvent(event);
    expect(watch.snapshot().event).toEqual(event);
  });

  it("has no time of sending, which is in the snapshot's skewMs, and the transport's value is not changed", async () => {
    const { watch, transport } = start();
    const sentAt = new Date(Date.now() - 60_000).toISOString();
    const sent = Object.freeze(state(1, { sentAt }));
    (await transport.link(1)).onEvent(sent);
    expect(watch.snapshot().event).toStrictEqual(state(1));
    expect(watch.snapshot().skewMs).toBeGreaterThanOrEqual(60_000);
    expect(sent.sentAt).toBe(sentAt);
  });

  it("of a transport without the server's time is shown, and limits the clock's error", async () => {
    const { watch, transport } = start();
    (await transport.link(1)).onEvent(state(1, { occurredAt: new Date(Date.now() - 60_000).toISOString() }));
    expect(watch.snapshot().event?.version).toBe(1);
    expect(watch.snapshot().skewMs).toBeGreaterThanOrEqual(60_000);
  });

  it("corrects the clock if an equal one has the server's time, and notifies nobody of a state (G5)", async () => {
    const { watch, transport, snapshots } = start();
    const ago = (ms: number): string => new Date(Date.now() - ms).toISOString();
    const link = await transport.link(1);
    // Delivered 30 s late, for example because the page slept.
    link.onEvent(state(2, { sentAt: ago(30_000) }));
    const { event } = watch.snapshot();
    link.onEvent(state(1, { sentAt: ago(60_000) }));
    link.onEvent(state(2));
    expect(watch.snapshot().skewMs).toBeGreaterThanOrEqual(30_000);
    expect(watch.snapshot().skewMs).toBeLessThan(60_000);
    link.onEvent(state(2, { sentAt: ago(0) }));
    expect(watch.snapshot().skewMs).toBeLessThan(30_000);
    expect(watch.snapshot().event).toBe(event);
    expect(snapshots).toHaveLength(3);
  });

  it("is requested again on a check, because the clock may have changed while the page slept", async () => {
    const { watch, transport } = start({ after: 1 });
    const link = await transport.link(1);
    link.onOpen();
    watch.check();
    // Before the first state, the page shows another one than the watch.
    const second = await transport.link(2);
    expect(second.target.after).toBe(1);
    second.onOpen();
    second.onEvent(state(2));
    watch.check();
    const third = await transport.link(3);
    expect(third.target.after).toBe(0);
    third.onEvent(state(2, { sentAt: new Date().toISOString() }));
    third.drop();
    expect((await transport.link(4)).target.after).toBe(2);
  });

  it("is still watched after it has settled, so that a late success arrives", async () => {
    const { watch, transport } = start();
    const link = await transport.link(1);
    link.onEvent(state(3, { status: "expired", settled: true, reason: "deadline" }));
    expect((await watch.settled()).version).toBe(3);
    link.drop();
    const again = await transport.link(2);
    again.onEvent({ ...paid(4), reason: "late" });
    expect(watch.snapshot().event).toMatchObject({ status: "succeeded", reason: "late" });
  });
});

describe("snapshot", () => {
  it("is the same object until something changes", async () => {
    const { watch, transport } = start();
    const before = watch.snapshot();
    expect(watch.snapshot()).toBe(before);
    const link = await transport.link(1);
    link.onOpen();
    const open = watch.snapshot();
    expect(open).toMatchObject({ connection: "open", transport: "scripted" });
    link.onOpen();
    link.onEvent(undefined);
    expect(watch.snapshot()).toBe(open);
  });

  it("reaches every listener though another one throws or unsubscribes, and the error is reported", async () => {
    const reported: (() => void)[] = [];
    vi.stubGlobal("queueMicrotask", (report: () => void) => reported.push(report));
    const { watch, transport } = start();
    const received: number[] = [];
    const fault = new Error("thrown by a listener");
    const unsubscribe = watch.subscribe(() => {
      unsubscribe();
      throw fault;
    });
    watch.subscribe(({ event }) => received.push(event?.version ?? 0));
    const { onEvent } = await transport.link(1);
    onEvent(state(1));
    onEvent(state(2));
    expect(received).toEqual([1, 2]);
    expect(reported).toHaveLength(1);
    expect(reported[0]).toThrow(fault);
  });

  it("never reaches a listener after a newer one (G5)", async () => {
    const { watch, transport } = start();
    const link = await transport.link(1);
    const received: number[] = [];
    watch.subscribe(({ event }) => event?.version === 1 && link.onEvent(state(2)));
    watch.subscribe(({ event }) => received.push(event?.version ?? 0));
    link.onEvent(state(1));
    expect(received).toEqual([2]);
  });
});

describe("link", () => {
  it("is replaced after it drops, from the last version seen", async () => {
    const { watch, transport, snapshots } = start();
    const link = await transport.link(1);
    expect(link.target).toEqual({ url, orderId, token: "first", after: 0 });
    link.onOpen();
    link.onEvent(state(2));
    link.drop();
    const again = await transport.link(2);
    expect(again.target.after).toBe(2);
    again.onOpen();
    expect(snapshots.map(({ connection }) => connection)).toEqual([
      "connecting",
      "open",
      "open",
      "waiting",
      "connecting",
      "open",
    ]);
    expect(watch.snapshot().event?.version).toBe(2);
  });

  it("is ignored once it is replaced", async () => {
    const { watch, transport } = start();
    const old = await transport.link(1);
    old.onOpen();
    watch.check();
    await transport.link(2);
    old.onEvent(state(9));
    old.onOpen();
    expect(old.signal.aborted).toBe(true);
    expect(watch.snapshot()).toMatchObject({ connection: "connecting", event: undefined });
  });

  it("needs no timer of the watch while it is open", async () => {
    const { transport } = start();
    const { onOpen, onEvent } = await transport.link(1);
    const timers = [vi.spyOn(globalThis, "setTimeout"), vi.spyOn(globalThis, "setInterval")];
    onOpen();
    onEvent(state(1));
    await Promise.resolve();
    for (const timer of timers) expect(timer).not.toHaveBeenCalled();
  });

  it("never ends the watch by an error that is not a refusal", async () => {
    const { watch, transport } = start();
    for (const [index, error] of [new TypeError("network"), new ComeBack(), "nonsense", undefined].entries()) {
      const link = await transport.link(index + 1);
      if (index % 2 === 0) link.onOpen();
      link.fail(error);
    }
    (await transport.link(5)).onEvent(state(1));
    expect(watch.snapshot()).toMatchObject({ event: { version: 1 }, error: undefined });
  });

  it("is not replaced before Retry-After is over, even if the page wakes up", async () => {
    const { watch, transport } = start();
    const link = await transport.link(1);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    link.fail(new ComeBack(30_000));
    await vi.advanceTimersByTimeAsync(29_999);
    expect(watch.snapshot().connection).toBe("waiting");
    watch.check();
    await vi.advanceTimersByTimeAsync(0);
    expect(transport.links).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(transport.links).toHaveLength(2);
  });

  it("is replaced at once when the page wakes up, during a wait or while it seems open", async () => {
    const { watch, transport } = start();
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    // After these failures the wait is 15 s.
    for (let count = 1; count <= 3; count += 1) {
      (await transport.link(count)).drop();
      await until(() => watch.snapshot().connection === "waiting");
      watch.check();
    }
    const link = await transport.link(4);
    link.onOpen();
    watch.check();
    expect(watch.snapshot().connection).toBe("open");
    await transport.link(5);
    expect(link.signal.aborted).toBe(true);
    expect(watch.snapshot().connection).toBe("connecting");
  });
});

describe("transport", () => {
  it("is followed by the next at once if it fails, and is kept if it works", async () => {
    const broken = createScriptedTransport("broken");
    const working = createScriptedTransport("working");
    const { watch, snapshots } = start({ transports: [broken, working] });
    (await broken.link(1)).fail(new Error("cannot work here"));
    const link = await working.link(1);
    expect(snapshots.map(({ connection }) => connection)).not.toContain("waiting");
    link.onOpen();
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "working" });
    link.drop();
    await working.link(2);
    expect(broken.links).toHaveLength(1);
  });

  it("is the best one again after none of them opened", async () => {
    const [best, other] = [createScriptedTransport("best"), createScriptedTransport("other")];
    const { watch } = start({ transports: [best, other] });
    (await best.link(1)).fail(new Error("offline"));
    (await other.link(1)).fail(new Error("offline"));
    (await best.link(2)).onOpen();
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "best" });
  });

  it("is replaced even if it ignores its signal", async () => {
    const stubborn: ScriptedTransport = createScriptedTransport("stubborn");
    let runs = 0;
    const { watch } = start({
      transports: [
        {
          name: "stubborn",
          run: (_target, { onOpen }) => {
            runs += 1;
            onOpen();
            return new Promise(() => undefined);
          },
        },
        stubborn,
      ],
    });
    await until(() => runs === 1);
    watch.check();
    await until(() => runs === 2);
  });
});

describe("transport beside one that has not opened", () => {
  /** Transports under fake timers. The last one starts when the first one has been silent for 500 ms. */
  async function startSlow(options: Partial<WatchOptions> = {}, between: ScriptedTransport[] = []) {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const [best, spare] = [createScriptedTransport("best"), createScriptedTransport("spare")];
    const started = start({ transports: [best, ...between, spare], ...options });
    await vi.advanceTimersByTimeAsync(499);
    expect([best.links.length, spare.links.length]).toEqual([1, 0]);
    const [slow] = best.links as [HeldLink];
    return { ...started, best, spare, slow, pass: (ms: number) => vi.advanceTimersByTimeAsync(ms) };
  }

  it("delivers the first state and is kept when the first one fails", async () => {
    const { watch, spare, slow, best, pass } = await startSlow();
    await pass(1);
    const [link] = spare.links as [HeldLink];
    link.onEvent(state(1));
    link.onOpen();
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "spare", event: { version: 1 } });
    slow.fail(new Error("timeout"));
    await pass(60_000);
    expect([best.links.length, spare.links.length, link.signal.aborted]).toEqual([1, 1, false]);
    link.onEvent(state(2));
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "spare", event: { version: 2 } });
    link.onOpen();
    await pass(0);
    // One minute after it took over, the best one is tried again.
    expect(watch.snapshot().connection).toBe("connecting");
    expect(best.links).toHaveLength(2);
  });

  it("ends when the first one opens, and no state is lost, repeated or reversed (G5)", async () => {
    const { watch, snapshots, spare, slow, pass } = await startSlow();
    await pass(1);
    const [link] = spare.links as [HeldLink];
    link.onOpen();
    link.onEvent(state(2));
    slow.onOpen();
    expect(link.signal.aborted).toBe(true);
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "best" });
    link.onEvent(state(9));
    for (const version of [1, 2, 3]) slow.onEvent(state(version));
    await pass(60_000);
    expect(
      snapshots.flatMap(({ event }) => event?.version ?? []).filter((one, at, all) => one !== all[at - 1]),
    ).toEqual([2, 3]);
    expect(snapshots.map(({ connection }) => connection)).not.toContain("waiting");
    expect(spare.links).toHaveLength(1);
  });

  it("does not start if the first one opens or is reached in time", async () => {
    for (const event of ["onOpen", "onReached"] as const) {
      const { spare, slow, pass } = await startSlow();
      slow[event]?.();
      await pass(60_000);
      expect(spare.links).toHaveLength(0);
    }
  });

  it("starts again after a wait if it drops, until the first one opens", async () => {
    const { watch, spare, slow, pass } = await startSlow();
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    await pass(1);
    spare.links[0]?.onOpen();
    spare.links[0]?.drop();
    await pass(249);
    expect(watch.snapshot()).toMatchObject({ connection: "connecting", transport: undefined });
    expect(spare.links).toHaveLength(1);
    await pass(1);
    spare.links[1]?.onOpen();
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "spare" });
    spare.links[1]?.fail(new ComeBack(30_000));
    await pass(30_499);
    expect(spare.links).toHaveLength(2);
    await pass(1);
    expect(spare.links).toHaveLength(3);
    spare.links[2]?.drop();
    await pass(0);
    slow.onOpen();
    await pass(60_000);
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "best" });
    expect(spare.links).toHaveLength(3);
  });

  it("is the last of several, and is kept or left as the network needs", async () => {
    const other = createScriptedTransport("other");
    const { watch, best, spare: last, pass } = await startSlow({}, [other]);
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    await pass(1);
    expect([best, other, last].map(({ links }) => links.length)).toEqual([1, 0, 1]);
    // If it has failed, the next in order is tried.
    last.links[0]?.fail(new Error("blocked"));
    await pass(0);
    best.links[0]?.fail(new Error("timeout"));
    await pass(0);
    expect(other.links).toHaveLength(1);
    await pass(500);
    last.links.at(-1)?.onOpen();
    other.links[0]?.fail(new Error("timeout"));
    await pass(10_000);
    expect(watch.snapshot()).toMatchObject({ connection: "open", transport: "spare" });
    expect([best, other].map(({ links }) => links.length)).toEqual([1, 1]);
  });

  it("does not shorten the wait that the server requested from either of them", async () => {
    for (const [first, second] of [
      [30_000, 2_000],
      [2_000, 30_000],
      [30_000, undefined],
      [undefined, 30_000],
    ]) {
      const { watch, best, spare, slow, pass } = await startSlow();
      await pass(1);
      if (second) spare.links[0]?.fail(new ComeBack(second));
      await pass(0);
      slow.fail(first ? new ComeBack(first) : new Error("timeout"));
      await pass(29_999);
      expect(watch.snapshot().connection).toBe("waiting");
      await pass(1);
      // The better one is still the first.
      expect([best.links.length, spare.links.length]).toEqual([2, 1]);
      watch.close();
      vi.useRealTimers();
    }
  });

  it("starts later, and at a random time, beside one that has opened before", async () => {
    const { best, spare, slow, pass } = await startSlow();
    vi.spyOn(Math, "random").mockReturnValueOnce(0).mockReturnValueOnce(0.5);
    slow.onOpen();
    slow.drop();
    await pass(0);
    expect(best.links).toHaveLength(2);
    await pass(2_999);
    expect(spare.links).toHaveLength(0);
    await pass(1);
    expect(spare.links).toHaveLength(1);
  });

  it("does not make a token that the first one refuses be fetched again and again without a wait", async () => {
    const refreshToken = vi.fn(() => "fresh");
    const { watch, best, spare, pass } = await startSlow({ refreshToken });
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    await pass(1);
    const refuse = async (): Promise<void> => {
      spare.links.at(-1)?.onOpen();
      best.links.at(-1)?.fail(new Refusal("token_expired"));
      await pass(0);
    };
    await refuse();
    expect(refreshToken).toHaveBeenCalledTimes(1);
    await pass(500);
    // The token is fresh now, so the watch waits.
    await refuse();
    expect(watch.snapshot().connection).toBe("waiting");
    expect(refreshToken).toHaveBeenCalledTimes(1);
    await pass(500);
    expect(refreshToken).toHaveBeenCalledTimes(2);
    await pass(500);
    await refuse();
    await pass(998);
    expect(refreshToken).toHaveBeenCalledTimes(2);
    watch.close();
    await pass(60_000);
    expect(refreshToken).toHaveBeenCalledTimes(2);
  });

  it("ends the watch or fetches a fresh token if it is refused, without waiting for the first one", async () => {
    const refreshToken = vi.fn(() => "second");
    const { watch, best, spare, slow, pass } = await startSlow({ refreshToken });
    await pass(1);
    spare.links[0]?.fail(new Refusal("token_expired"));
    await pass(0);
    expect(slow.signal.aborted).toBe(true);
    expect(best.links[1]?.target.token).toBe("second");
    await pass(500);
    spare.links[1]?.fail(new Refusal("order_unknown"));
    await pass(0);
    expect(watch.snapshot()).toMatchObject({ connection: "closed", error: { code: "order_unknown" } });
    expect(best.links[1]?.signal.aborted).toBe(true);
    expect(refreshToken).toHaveBeenCalledTimes(1);
  });

  it("ends with close() and is replaced with the first one when the page wakes up", async () => {
    const { watch, best, spare, slow, pass } = await startSlow();
    await pass(1_000);
    watch.check();
    await pass(500);
    expect([slow, spare.links[0]].map((link) => link?.signal.aborted)).toEqual([true, true]);
    expect([best.links.length, spare.links.length]).toEqual([2, 2]);
    watch.close();
    expect([best.links[1], spare.links[1]].map((link) => link?.signal.aborted)).toEqual([true, true]);
    await pass(60_000);
    expect([best.links.length, spare.links.length]).toEqual([2, 2]);
  });
});

describe("expired token", () => {
  it("is replaced at once by a fresh one, and the watch continues from the last version seen", async () => {
    const refreshToken = vi.fn(async () => "second");
    const { watch, transport } = start({ refreshToken });
    const link = await transport.link(1);
    link.onOpen();
    link.onEvent(state(2));
    link.fail(new Refusal("token_expired"));
    const again = await transport.link(2);
    expect(again.target).toMatchObject({ token: "second", after: 2 });
    again.onOpen();
    again.fail(new Refusal("token_expired"));
    await transport.link(3);
    expect(refreshToken).toHaveBeenCalledTimes(2);
    expect(watch.snapshot().error).toBeUndefined();
  });

  it("ends the watch if refreshToken returns none", async () => {
    const { watch, transport } = start({ refreshToken: () => undefined });
    (await transport.link(1)).fail(new Refusal("token_expired"));
    await expect(watch.settled()).rejects.toMatchObject({ code: "token_expired" });
  });

  it("ends the watch if the fresh one is refused too", async () => {
    const { watch, transport } = start({ refreshToken: () => "second" });
    (await transport.link(1)).fail(new Refusal("token_expired"));
    (await transport.link(2)).fail(new Refusal("token_expired"));
    await expect(watch.settled()).rejects.toMatchObject({ code: "token_expired" });
    expect(watch.snapshot()).toMatchObject({ connection: "closed", error: { code: "token_expired" } });
  });

  it("is fetched again after the merchant's server could not be reached", async () => {
    let calls = 0;
    const { watch, transport } = start({
      async refreshToken() {
        calls += 1;
        if (calls === 1) throw new TypeError("network");
        return "second";
      },
    });
    (await transport.link(1)).fail(new Refusal("token_expired"));
    (await transport.link(2)).fail(new Refusal("token_expired"));
    expect((await transport.link(3)).target.token).toBe("second");
    expect(watch.snapshot().error).toBeUndefined();
  });
});

describe("empty token", () => {
  it("is replaced by a fresh one before the first request", async () => {
    const { watch, transport } = start({ token: "", refreshToken: async () => "second" });
    const link = await transport.link(1);
    expect(link.target.token).toBe("second");
    link.onOpen();
    expect(watch.snapshot().connection).toBe("open");
  });

  it("ends the watch without a request if there is no other", async () => {
    for (const refreshToken of [undefined, () => undefined]) {
      const { watch, transport } = start({ token: "", refreshToken });
      await expect(watch.settled()).rejects.toMatchObject({ code: "token_expired" });
      expect(transport.links).toHaveLength(0);
    }
  });

  it("is fetched again after the merchant's server could not be reached", async () => {
    const refreshToken = vi.fn(async () =>
      refreshToken.mock.calls.length === 1 ? Promise.reject(new Error()) : "second",
    );
    const { transport } = start({ token: "", refreshToken });
    expect((await transport.link(1)).target.token).toBe("second");
  });
});

describe("refusal", () => {
  it.each(["token_invalid", "order_unknown", "token_expired"] as const)(
    "with %s ends the watch, its settled() and its iteration",
    async (code) => {
      const { watch, transport } = start();
      const settled = watch.settled();
      const reading = (async () => {
        for await (const _event of watch);
      })();
      (await transport.link(1)).fail(new Refusal(code));
      await expect(settled).rejects.toBeInstanceOf(WatchError);
      await expect(reading).rejects.toMatchObject({ name: "WatchError", code });
      expect(watch.snapshot()).toMatchObject({ connection: "closed", transport: undefined, error: { code } });
      expect(transport.links).toHaveLength(1);
    },
  );
});

describe("watchOrder", () => {
  it("names the url if it is missing", () => {
    const options = { orderId: "ORD-1", token: "any" } as unknown as Parameters<typeof watchOrder>[0];
    expect(() => watchOrder(options)).toThrow(new TypeError("`url` is missing"));
  });
});

describe("end of a watch", () => {
  it("follows close(): iteration ends, settled() rejects, later events are ignored, and a second close() does nothing", async () => {
    const { watch, transport, snapshots } = start();
    const link = await transport.link(1);
    link.onEvent(state(1));
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { version } of watch) seen.push(version);
    })();
    const settled = watch.settled();
    await until(() => seen.length === 1);
    watch.close();
    watch.close();
    await reading;
    await expect(settled).rejects.toMatchObject({ code: "closed" });
    link.onEvent(state(2));
    link.onOpen();
    watch.check();
    expect(link.signal.aborted).toBe(true);
    expect(watch.snapshot()).toMatchObject({ connection: "closed", event: { version: 1 }, error: undefined });
    expect(snapshots.filter(({ connection }) => connection === "closed")).toHaveLength(1);
  });

  it("follows the signal, also if it was aborted before the start", async () => {
    const before = start({ signal: AbortSignal.abort() });
    await expect(before.watch.settled()).rejects.toMatchObject({ code: "closed" });
    const stop = new AbortController();
    const after = start({ signal: stop.signal });
    const link = await after.transport.link(1);
    const ended = start({ signal: stop.signal });
    const removed = vi.spyOn(stop.signal, "removeEventListener");
    ended.watch.close();
    expect(removed).toHaveBeenCalledTimes(1);
    stop.abort();
    expect(after.watch.snapshot().connection).toBe("closed");
    expect(link.signal.aborted).toBe(true);
    expect(before.transport.links).toHaveLength(0);
  });

  it("follows close() during a wait and while a token is fetched", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    const waiting = start();
    (await waiting.transport.link(1)).drop();
    await until(() => waiting.watch.snapshot().connection === "waiting");
    waiting.watch.close();
    let answer: (token: string) => void = () => undefined;
    const fetched = new Promise<string>((resolve) => {
      answer = resolve;
    });
    const fetching = start({ refreshToken: () => fetched });
    (await fetching.transport.link(1)).fail(new Refusal("token_expired"));
    fetching.watch.close();
    answer("second");
    await fetched;
    await new Promise(setImmediate);
    expect([waiting.transport.links, fetching.transport.links].map(({ length }) => length)).toEqual([1, 1]);
    expect(fetching.watch.snapshot().connection).toBe("closed");
  });
});

describe("awaiting", () => {
  it("resolves settled() with a settled state, also with one that has already arrived", async () => {
    const { watch, transport } = start();
    const early = watch.settled();
    const { onEvent } = await transport.link(1);
    onEvent(state(1));
    onEvent(paid(3));
    expect(await early).toEqual(paid(3));
    expect(await watch.settled()).toEqual(paid(3));
  });

  it("lets a slow loop skip states, but never repeats or reverses them (G5)", async () => {
    const { watch, transport } = start();
    const { onEvent } = await transport.link(1);
    onEvent(state(1));
    const loop = watch[Symbol.asyncIterator]();
    expect((await loop.next()).value).toMatchObject({ version: 1 });
    onEvent(state(2));
    onEvent(state(3));
    expect((await loop.next()).value).toMatchObject({ version: 3 });
    const next = loop.next();
    onEvent(state(4));
    expect((await next).value).toMatchObject({ version: 4 });
    await loop.return?.();
    expect(watch.snapshot().connection).not.toBe("closed");
  });

  it("yields the last state to a loop that starts after the watch is closed", async () => {
    const { watch, transport } = start();
    (await transport.link(1)).onEvent(paid(3));
    watch.close();
    const seen: StatusEvent[] = [];
    for await (const event of watch) seen.push(event);
    expect(seen).toEqual([paid(3)]);
  });

  it("has the documented types", () => {
    expectTypeOf<OrderWatch["settled"]>().returns.resolves.toEqualTypeOf<StatusEvent>();
    expectTypeOf<Snapshot["event"]>().toEqualTypeOf<StatusEvent | undefined>();
    expectTypeOf<Snapshot["connection"]>().toEqualTypeOf<"connecting" | "open" | "waiting" | "closed">();
    expectTypeOf(watchOrder).parameter(0).toHaveProperty("orderId");
    expectTypeOf<Pick<WatchOptions, "url" | "orderId" | "token">>().toExtend<WatchOptions>();
  });
});

describe("reloaded page", () => {
  it("shows the last state in the first paint and requests it again, because the answer has the server's time", async () => {
    vi.stubGlobal("sessionStorage", createStorage());
    const before = start();
    (await before.transport.link(1)).onEvent(state(2));
    before.watch.close();
    const after = start();
    expect(after.watch.snapshot()).toMatchObject({ event: { version: 2 }, connection: "connecting" });
    const link = await after.transport.link(1);
    expect(link.target.after).toBe(0);
    expect(after.watch.snapshot().skewMs).toBeUndefined();
    link.onEvent(state(2, { sentAt: new Date(Date.now() - 5_000).toISOString() }));
    expect(after.watch.snapshot().skewMs).toBeGreaterThanOrEqual(5_000);
    link.drop();
    expect((await after.transport.link(2)).target.after).toBe(2);
  });

  it("yields a stored state only when the server confirms it, and once (G5)", async () => {
    const storage = createStorage();
    const before = start({ storage });
    (await before.transport.link(1)).onEvent(state(2));
    const after = start({ storage });
    const loop = after.watch[Symbol.asyncIterator]();
    const first = loop.next();
    const link = await after.transport.link(1);
    link.onEvent(state(2));
    expect((await first).value).toMatchObject({ version: 2 });
    const second = loop.next();
    link.onEvent(state(2));
    link.onEvent(state(3));
    expect((await second).value).toMatchObject({ version: 3 });
  });

  it("requests a stored settled state again", async () => {
    const storage = createStorage();
    const before = start({ storage });
    (await before.transport.link(1)).onEvent(paid(3));
    const after = start({ storage });
    expect(after.watch.snapshot().event).toEqual(paid(3));
    const link = await after.transport.link(1);
    expect(link.target.after).toBe(0);
    link.onEvent(state(3, { id: "two", status: "failed", settled: true }));
    expect(after.watch.snapshot().event).toMatchObject({ id: "two", status: "failed" });
  });

  it("resolves with a stored settled state only after the server confirms it, because another attempt may have followed", async () => {
    const storage = createStorage();
    const failed = state(3, { status: "failed", settled: true });
    const before = start({ storage });
    (await before.transport.link(1)).onEvent(failed);
    const retried = start({ storage });
    const settled = retried.watch.settled();
    const loop = retried.watch[Symbol.asyncIterator]();
    const first = loop.next();
    const link = await retried.transport.link(1);
    link.onEvent(state(4, { status: "pending" }));
    expect((await first).value).toMatchObject({ version: 4 });
    link.onEvent(paid(6));
    expect(await settled).toMatchObject({ version: 6, status: "succeeded" });
    const same = start({ storage });
    const confirmed = same.watch.settled();
    const again = await same.transport.link(1);
    again.onEvent(paid(6));
    again.onEvent(paid(6));
    expect((await confirmed).version).toBe(6);
    expect(same.snapshots.map(({ event }) => event?.version)).toEqual([6, 6]);
  });

  it("separates orders and servers, and stores no token", async () => {
    const storage = createStorage();
    const { transport } = start({ storage });
    (await transport.link(1)).onEvent(state(2));
    expect(start({ storage, orderId: "ORD-2" }).watch.snapshot().event).toBeUndefined();
    expect(start({ storage, url: "http://other.example" }).watch.snapshot().event).toBeUndefined();
    expect(start({ storage, url: `${url}/` }).watch.snapshot().event?.version).toBe(2);
    expect(JSON.stringify([...storage.items])).not.toContain("first");
  });

  it("starts without a state if the storage is full, forbidden, damaged or switched off", async () => {
    const forbidden = {
      getItem() {
        throw new Error("SecurityError");
      },
      setItem() {
        throw new Error("QuotaExceededError");
      },
    };
    for (const storage of [forbidden, { getItem: () => "{", setItem: () => undefined }, null]) {
      const { watch, transport } = start({ storage });
      (await transport.link(1)).onEvent(state(2));
      expect(watch.snapshot().event?.version).toBe(2);
    }
    Object.defineProperty(globalThis, "sessionStorage", {
      configurable: true,
      get() {
        throw new Error("SecurityError");
      },
    });
    onTestFinished(() => void Reflect.deleteProperty(globalThis, "sessionStorage"));
    expect(start().watch.snapshot().event).toBeUndefined();
  });
});

describe("page", () => {
  /** Stubs the browser's globals that the watch uses. */
  function stubPage(): { document: EventTarget & { visibilityState: string }; window: EventTarget } {
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const window = new EventTarget();
    vi.stubGlobal("document", document);
    for (const name of ["addEventListener", "removeEventListener"] as const) {
      vi.stubGlobal(name, window[name].bind(window));
    }
    return { document, window };
  }

  it("checks now when it is visible again, restored from the cache or online again", async () => {
    const { document, window } = stubPage();
    const { transport } = start();
    const wakeUps = [
      () => document.dispatchEvent(new Event("visibilitychange")),
      () => window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true })),
      () => window.dispatchEvent(new Event("online")),
    ];
    for (const [index, wakeUp] of wakeUps.entries()) {
      (await transport.link(index + 1)).onOpen();
      wakeUp();
      await transport.link(index + 2);
    }
  });

  it("does nothing when it is hidden or shown for the first time", async () => {
    const { document, window } = stubPage();
    const { watch, transport } = start();
    (await transport.link(1)).onOpen();
    document.visibilityState = "hidden";
    document.dispatchEvent(new Event("visibilitychange"));
    window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: false }));
    await new Promise(setImmediate);
    expect(watch.snapshot().connection).toBe("open");
    expect(transport.links).toHaveLength(1);
  });

  it("opens one new link when several events report the same return", async () => {
    const { document, window } = stubPage();
    const { transport } = start();
    (await transport.link(1)).onOpen();
    window.dispatchEvent(new Event("online"));
    document.dispatchEvent(new Event("visibilitychange"));
    await transport.link(2);
    window.dispatchEvent(new Event("online"));
    await new Promise(setImmediate);
    expect(transport.links).toHaveLength(2);
  });

  it("has no listener left after the end of the watch", async () => {
    const { document, window } = stubPage();
    const removed = vi.spyOn(document, "removeEventListener");
    const removedFromWindow = vi.fn();
    vi.stubGlobal("removeEventListener", removedFromWindow);
    start().watch.close();
    expect(removed).toHaveBeenCalledTimes(1);
    expect(removedFromWindow).toHaveBeenCalledTimes(2);
    expect(window).toBeDefined();
  });

  it("may use a server address relative to itself", async () => {
    vi.stubGlobal("location", { href: "https://shop.example/orders/1?x=1" });
    const { transport } = start({ url: "/tukio/" });
    expect((await transport.link(1)).target.url).toBe("https://shop.example/tukio");
  });
});
