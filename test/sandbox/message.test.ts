/** What a node forwards of a request. */
import { expect, it } from "vitest";
import { withoutHopHeaders } from "../../server/sandbox/message.ts";

it("keeps no header of the connection, and none that the connection names", () => {
  const headers = {
    connection: "Close, X-Own",
    "x-own": "1",
    te: "trailers",
    "proxy-connection": "keep-alive",
    accept: "*/*",
  };
  expect(withoutHopHeaders(headers, () => false)).toEqual({ accept: "*/*" });
});
