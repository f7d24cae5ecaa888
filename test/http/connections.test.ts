/** How a closing server ends unused connections. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Connections, trackConnections } from "../../server/http/connections.ts";

/** A server, and a connection that it has accepted and that is silent. */
async function startSilent(): Promise<{ connections: Connections; socket: Socket }> {
  const server: Server = createServer((_request, response) => response.end("here"));
  const connections = trackConnections(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  onTestFinished(() => {
    socket.destroy();
    server.close();
  });
  await accepted;
  return { connections, socket };
}

describe("endIdle", () => {
  it("leaves a new connection the time to send its request", async () => {
    const { connections, socket } = await startSilent();
    connections.endIdle();
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    const [answer] = await once(socket, "data");
    expect(String(answer)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("ends a connection that is still silent at the next call", async () => {
    const { connections, socket } = await startSilent();
    const closed = once(socket, "close");
    connections.endIdle();
    connections.endIdle();
    socket.resume();
    await closed;
    expect(socket.bytesRead).toBe(0);
  });
});
