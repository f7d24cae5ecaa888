import { defineConfig } from "vitest/config";

/** The projects and their tests. The project `server` has the tests of no other project. */
const unit = [
  "test/*.test.ts",
  "test/auth/{access,keys,watch-token}.test.ts",
  "test/config/*.test.ts",
  "test/docs/{guarantee,page}.test.ts",
  "test/doctor/check.test.ts",
  "test/attack/translate.test.ts",
  "test/client-sdk/{presentation,rule,syntax,watch}.test.ts",
  "test/http/inbound-limit.test.ts",
  "test/merchant-sdk/{event-stream,schema}.test.ts",
  "test/notification/{alert-mail,receipt-mail,words}.test.ts",
  "test/order/batch.test.ts",
  "test/payment/phone.test.ts",
  "test/provider/{call-stats,money}.test.ts",
  "test/status/hub.test.ts",
  "test/transport/transport.test.ts",
  "test/webhook/subscription.test.ts",
];
const store = [
  "test/auth/secret-comparison.test.ts",
  "test/database/{migrate,pool}.test.ts",
  "test/order/{advance,claim-due,completion,decision-table,fast-path,query,retention,statistics,store}.test.ts",
  "test/payment/reconcile.test.ts",
  "test/provider/access-token.test.ts",
  "test/webhook/{budget,inbox}.test.ts",
];
const browser = [
  "test/browser/*.test.ts",
  "test/client-sdk/{element,fresh-project,react}.test.ts",
  "test/desk/{journey,screen}.test.ts",
  "test/demo-shop/browser.test.ts",
  "test/notification/{mail-look,receipt-page}.test.ts",
  "test/payment-link/page*.test.ts",
  "test/plan/page.test.ts",
  "test/docs/picture.test.ts",
  "test/examples/{events-shop,express-shop,nextjs-course,wifi-portal}.test.ts",
];
const model = ["test/model/*.test.ts"];

/** Starts one PostgreSQL and one Redis for all projects that need them. */
const globalSetup = "test/support/global.ts";

export default defineConfig({
  test: {
    root: import.meta.dirname,
    setupFiles: ["test/support/wait-timeout.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 30_000 } },
    // Prints a line for each finished file, because the whole run takes minutes.
    reporters: ["default"],
    silent: "passed-only",
    projects: [
      { extends: true, test: { name: "unit", include: unit } },
      { extends: true, test: { name: "store", include: store, globalSetup } },
      {
        extends: true,
        test: {
          name: "server",
          include: ["test/**/*.test.ts"],
          exclude: [...unit, ...store, ...browser, ...model],
          globalSetup,
        },
      },
      { extends: true, test: { name: "browser", include: browser, globalSetup } },
      { extends: true, test: { name: "model", include: model, globalSetup } },
    ],
  },
});
