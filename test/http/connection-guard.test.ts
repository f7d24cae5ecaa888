/** The bounds of every connection, on a server without routes, with real connections (G12). */
import { once } from "node:events";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import {
  type CutReason,
  guardConnections,
  piecesMax,
  queuedBytesMax,
  unansweredMax,
} from "../../server/http/connection-guard.ts";
import { allowances } from "../../server/http/inbound-limit.ts";

interface ServerOptions {
  answer?: RequestListener;
  perAddressMax?: number;
  isProxy?: boolean;
}

async function start({
  answer = (_request, response) => response.end("here"),
  perAddressMax = 100,
  isProxy = false,
}: ServerOptions = {}) {
  const state = { nowMs: 0, cuts: [] as CutReason[], upgraded: [] as Socket[] };
  const server: Server = createServer(answer);
  const guard = guardConnections(server, {
    perAddressMax,
    isProxy: () => isProxy,
    onCut: (why) => state.cuts.push(why),
    nowMs: () => state.nowMs,
  });
  server.on("upgrade", (_request, socket) => {
    state.upgraded.push(socket as Socket);
    socket.on("error", () => undefined).write("HTTP/1.1 101 Switching Protocols\r\n\r\n");
  });
  guard.guardRequests();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const open = (): Socket => {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    return socket.on("error", () => undefined);
  };
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { state, server, guard, open };
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const ping = Buffer.from([0x89, 0x80, 1, 2, 3, 4]);
const closed = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once("close", resolve));

describe("connection guard", () => {
  it("ends a connection with too many pipelined requests, and passes on none of the excess (G12)", async () => {
    const answer = vi.fn(() => undefined);
    const { state, open } = await start({ answer });
    const socket = open().resume();
    socket.write(get.repeat(500));
    await closed(socket);
    expect(answer).toHaveBeenCalledTimes(unansweredMax);
    expect(state.cuts).toEqual(["unanswered"]);
  });

  it("passes on as many pipelined requests as are allowed, repeatedly", async () => {
    const { state, open } = await start();
    const socket = open();
    let answers = 0;
    socket.on("data", (chunk) => (answers += String(chunk).split("here").length - 1));
    for (const wanted of [unansweredMax, 2 * unansweredMax]) {
      socket.write(get.repeat(unansweredMax));
      await vi.waitUntil(() => answers === wanted);
    }
    expect(state.cuts).toEqual([]);
  });
});

describe("connection guard, during a body", () => {
  const chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

  /** A server that reads bodies to their end. `read` is called once per piece. */
  const startReading = async () => {
    const read = vi.fn();
    const started = await start({
      answer: (request, response) => request.on("data", read).on("end", () => response.end("here")),
    });
    return { ...started, read };
  };

  it("passes on a body in many pieces", async () => {
    const { state, open, read } = await startReading();
    const socket = open();
    socket.write(`${chunked}${"1\r\na\r\n".repeat(piecesMax)}0\r\n\r\n`);
    expect(String((await once(socket, "data"))[0])).toMatch(/here/);
    expect(read).toHaveBeenCalledTimes(piecesMax);
    expect(state.cuts).toEqual([]);
  });

  it("cuts off a chunked body of too many pieces, and passes on none of the excess (G12)", async () => {
    const { state, open, read } = await startReading();
    const socket = open().resume();
    socket.write(`${chunked}${"1\r\na\r\n".repeat(60_000)}0\r\n\r\n`);
    await closed(socket);
    expect(state.cuts).toEqual(["flood"]);
    expect(read.mock.calls.length).toBeLessThanOrEqual(piecesMax);
  });

  it("cuts off a body with a length after as many pieces (G12)", async () => {
    const { state, open, read } = await startReading();
    const socket = open().resume();
    // The client sends the next byte when the server has read the one before, so each byte is one piece.
    read.mockImplementation(() => socket.write("a"));
    socket.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\na");
    await closed(socket);
    expect(state.cuts).toEqual(["flood"]);
    expect(read.mock.calls.length).toBeLessThanOrEqual(piecesMax);
  });

  it("ends the connection of a body that continues after the answer", async () => {
    const { open } = await start();
    const socket = open();
    socket.write(chunked);
    expect(String((await once(socket, "data"))[0])).toMatch(/here/);
    socket.resume();
    await closed(socket);
  });
});

describe("connection guard, per address", () => {
  it("limits the open connections (G12)", async () => {
    const { state, open } = await start({ perAddressMax: 2 });
    const first = open().resume();
    const second = open().resume();
    for (const socket of [first, second]) {
      socket.write(get);
      await once(socket, "data");
    }
    await closed(open().resume());
    expect(state.cuts).toEqual(["address"]);
    first.destroy();
    await vi.waitUntil(async () => {
      const next = open().resume();
      next.write(get);
      return new Promise((resolve) => next.once("data", () => resolve(true)).once("close", () => resolve(false)));
    });
  });

  it("does not count the connections of a proxy", async () => {
    const { state, open } = await start({ perAddressMax: 1, isProxy: true });
    for (const socket of [open(), open(), open()]) {
      socket.write(get);
      await once(socket, "data");
    }
    expect(state.cuts).toEqual([]);
  });
});

describe("connection guard, at an upgrade", () => {
  it("ends the connection of an upgrade behind an unanswered request", async () => {
    const held: ServerResponse[] = [];
    const { state, open } = await start({ answer: (_request, response) => void held.push(response) });
    const socket = open().resume();
    socket.write(get + upgrade);
    await closed(socket);
    await vi.waitUntil(() => held[0]?.destroyed);
    expect(state.cuts).toEqual(["unanswered"]);
  });

  it("passes on an upgrade when all requests are answered", async () => {
    const { state, open } = await start();
    const socket = open();
    socket.write(get);
    await once(socket, "data");
    socket.write(upgrade);
    await vi.waitUntil(() => state.upgraded.length === 1);
    expect(state.cuts).toEqual([]);
  });
});

describe("connection guard, after an upgrade", () => {
  const startUpgraded = async () => {
    const started = await start();
    const socket = started.open().resume();
    socket.write(upgrade);
    await once(socket, "data");
    const [inside] = started.state.upgraded;
    if (!inside) throw new Error("not upgraded");
    const chunks: Buffer[] = [];
    inside.on("data", (chunk: Buffer) => chunks.push(chunk));
    return { ...started, socket, inside, received: () => Buffer.concat(chunks).length };
  };

  it("passes on frames within the limit", async () => {
    const { state, socket, received } = await startUpgraded();
    socket.write(Buffer.concat(Array.from({ length: 32 }, () => ping)));
    await vi.waitUntil(() => received() === 32 * ping.length);
    expect(state.cuts).toEqual([]);
  });

  it("cuts off a flood of frames, and passes on none of the excess (G12)", async () => {
    const { state, socket, received } = await startUpgraded();
    socket.write(Buffer.concat(Array.from({ length: 10_000 }, () => ping)));
    await closed(socket);
    expect(state.cuts).toEqual(["flood"]);
    expect(received()).toBeLessThanOrEqual(allowances.anonymous.frames.burst * ping.length);
  });

  it("allows more frames after the client proves its role", async () => {
    const { state, guard, socket, inside, received } = await startUpgraded();
    guard.trust(inside, "payer");
    const { burst } = allowances.payer.frames;
    socket.write(Buffer.concat(Array.from({ length: burst }, () => ping)));
    await vi.waitUntil(() => received() === burst * ping.length);
    socket.write(Buffer.concat(Array.from({ length: 10_000 }, () => ping)));
    await closed(socket);
    expect(state.cuts).toEqual(["flood"]);
  });

  it("counts frames in the packet of the upgrade request", async () => {
    const { state, open } = await start();
    const socket = open().resume();
    socket.write(Buffer.concat([Buffer.from(upgrade), ...Array.from({ length: 1_000 }, () => ping)]));
    await closed(socket);
    expect(state.cuts).toEqual(["flood"]);
  });
});

describe("connection guard, for a client that does not read", () => {
  /** Larger than the kernel's buffers. */
  const filler = Buffer.alloc(1_048_576);

  const startUnread = async () => {
    const started = await start();
    const socket = started.open();
    socket.write(upgrade);
    await once(socket, "data");
    socket.pause();
    const [inside] = started.state.upgraded;
    if (!inside) throw new Error("not upgraded");
    /** Writes until `bytes` are queued for the client. */
    const fill = async (bytes: number): Promise<void> => {
      while (inside.writableLength === 0) inside.write(filler);
      await vi.waitUntil(() => inside.writableLength <= filler.length);
      inside.write(Buffer.alloc(bytes));
    };
    return { ...started, socket, inside, fill };
  };

  it("cuts it off when too much is queued (G12)", async () => {
    const { state, guard, inside, fill } = await startUnread();
    await fill(queuedBytesMax.anonymous + 1);
    guard.cutUnread();
    expect(state.cuts).toEqual(["queued"]);
    expect(inside.destroyed).toBe(true);
  });

  it("allows a merchant more queued bytes, for a limited time", async () => {
    const { state, guard, inside, fill } = await startUnread();
    guard.trust(inside, "merchant");
    await fill(queuedBytesMax.anonymous + 1);
    guard.cutUnread();
    state.nowMs = 60_000;
    guard.cutUnread();
    expect(state.cuts).toEqual([]);
    state.nowMs = 60_001;
    guard.cutUnread();
    expect(state.cuts).toEqual(["unread"]);
  });

  it("restarts the time when the client reads something", async () => {
    const { state, guard, socket, inside, fill } = await startUnread();
    guard.trust(inside, "merchant");
    await fill(1);
    guard.cutUnread();
    state.nowMs = 59_000;
    const before = inside.bytesWritten - inside.writableLength;
    socket.resume();
    await vi.waitUntil(() => inside.bytesWritten - inside.writableLength > before);
    guard.cutUnread();
    state.nowMs = 118_000;
    guard.cutUnread();
    expect(state.cuts).toEqual([]);
  });
});
