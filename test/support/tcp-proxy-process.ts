/** A program that runs a TCP proxy in its own process. It sends its URL to the parent and receives its targets from it. */
import { startTcpProxy } from "./tcp-proxy.ts";

const [target = ""] = process.argv.slice(2);
const proxy = await startTcpProxy(target, () => undefined);
process.on("message", (targets: string[]) => {
  proxy.targets = targets;
  process.send?.("routed");
});
process.on("disconnect", () => process.exit());
process.send?.(proxy.url);
