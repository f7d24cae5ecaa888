/** A program: a proxy in a process of its own, in front of many watchers. Says its address, and is told its targets. */
import { startTcpProxy } from "./tcp-proxy.ts";

const [target = ""] = process.argv.slice(2);
const proxy = await startTcpProxy(target, () => undefined);
process.on("message", (targets: string[]) => {
  proxy.targets = targets;
  process.send?.("routed");
});
process.on("disconnect", () => process.exit());
process.send?.(proxy.url);
