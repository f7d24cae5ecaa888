/** What a closing server does with connections that nobody uses. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { type Connections, trackConnections } from "../../server/http/connections.ts";

/** A server that answers, and a connection that it has taken and that is still silent. */
async function startSilent(): Promise<{ connections: Connections; socket: Socket }> {
  const server: Server = createServer((_request, response) => response.end("here"));
  const connections = trackConnections(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const taken = once(server, "connection");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  onTestFinished(() => {
    socket.destroy();
    server.close();
  });
  await taken;
  return { connections, socket };
}

it("leaves a new connection the time to make its request", async () => {
  const { connections, socket } = await startSilent();
  connections.endIdle();
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const [answer] = await once(socket, "data");
  expect(String(answer)).toMatch(/^HTTP\/1\.1 200 /);
});

it("ends one that is still silent the next time", async () => {
  const { connections, socket } = await startSilent();
  const closed = once(socket, "close");
  connections.endIdle();
  connections.endIdle();
  socket.resume();
  await closed;
  expect(socket.bytesRead).toBe(0);
});
