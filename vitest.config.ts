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
    // In one whole run of three a browser or nginx was not there in time, and why is not known. What fails twice fails.
    retry: 1,
    expect: { poll: { timeout: 30_000 } },
    // Only what fails is worth reading.
    reporters: ["dot"],
    silent: "passed-only",
  },
});
