/** The smallest event stream on `node:http`: an answer with one event that never ends. */
import { createServer } from "node:http";

createServer((request, response) => {
  if (request.url === "/") return response.end("ok");
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write("id: 1\nevent: status\ndata: {}\n\n");
}).listen(Number(process.env.PORT), "127.0.0.1", () => void globalThis.gc?.());
