/** A program: a wire in a process of its own, in front of many watchers. Says its address, and is told its targets. */
import { startWire } from "./wire.ts";

const [target = ""] = process.argv.slice(2);
const wire = await startWire(target, () => undefined);
process.on("message", (targets: string[]) => {
  wire.targets = targets;
  process.send?.("routed");
});
process.on("disconnect", () => process.exit());
process.send?.(wire.url);
