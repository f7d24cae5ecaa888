import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ["test/**/*.test.ts"],
    globalSetup: "test/support/global.ts",
    setupFiles: ["test/support/patience.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 30_000 } },
    // A line for each file as it ends: the whole run takes minutes.
    reporters: ["default"],
    silent: "passed-only",
  },
});
