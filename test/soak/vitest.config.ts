import { defineConfig } from "vitest/config";
import base from "../../vitest.config.ts";

/** Measurements that take minutes; not part of `npm test`. */
export default defineConfig({
  test: {
    ...base.test,
    projects: [
      {
        extends: true,
        test: { name: "storm", include: ["test/soak/storm.ts"], globalSetup: "test/support/global.ts" },
      },
      {
        extends: true,
        test: { name: "recover", include: ["test/soak/recover.ts"] },
      },
    ],
    root: `${import.meta.dirname}/../..`,
    silent: false,
  },
});
