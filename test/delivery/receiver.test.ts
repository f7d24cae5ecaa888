/** Attempts over HTTP that a deadline ends. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { Message } from "../../server/delivery/message.ts";
import { createSender } from "../../server/delivery/receiver.ts";
import { startDrippingServer } from "../support/dripping-server.ts";

const message: Message = { id: "1.0.1", type: "ping", occurredAt: new Date(0), epoch: 0, version: 1, body: "{}" };

describe("an attempt", () => {
  it.each([
    ["status line", "HTTP/1.1 200 ", { isDelivered: false, error: "no answer within 15 s" }],
    ["body", "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n", { isDelivered: true, status: 200 }],
  ])("ends at its deadline while the %s drips, and closes the connection", async (_what, before, reply) => {
    const server = await startDrippingServer((text) => (text === "" ? "" : { before }));
    const sender = createSender({ allowsLoopback: true });
    onTestFinished(sender.close);
    const deadline = new AbortController();
    const sent = sender.receiver(`http://127.0.0.1:${server.port}/hook`, () => ({}))(message, deadline.signal);
    await vi.waitUntil(() => server.dripping === 1);
    deadline.abort(new DOMException("late", "TimeoutError"));
    expect(await sent).toMatchObject(reply);
    await vi.waitUntil(() => server.closed === 1);
  });
});
