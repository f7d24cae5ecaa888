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
    // A machine that stalls for half a minute is no bug; what fails twice is one.
    retry: 1,
    expect: { poll: { timeout: 30_000 } },
    // Only what fails is worth reading.
    reporters: ["dot"],
    silent: "passed-only",
  },
});
