import { defineConfig, mergeConfig } from "vitest/config";
import base from "../../vitest.config.ts";

/** What takes minutes and measures rather than tests; not part of `npm test`. */
export default mergeConfig(
  { ...base, test: { ...base.test, include: [] } },
  defineConfig({ test: { root: `${import.meta.dirname}/../..`, include: ["test/soak/storm.ts"], silent: false } }),
);
