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
    // Only what fails is worth reading.
    reporters: ["dot"],
    silent: "passed-only",
  },
});
