/** The HTTP server of a node without its routes. */
import { afterEach, expect, it, vi } from "vitest";
import { readConfig } from "../server/config.ts";
import { openHttp } from "../server/http.ts";
import { createLogger } from "../server/log.ts";

const open = (env: Record<string, string> = {}) =>
  openHttp({
    config: readConfig(env),
    log: createLogger("silent"),
    isAllowedOrigin: () => true,
    onError: (error) => {
      throw error;
    },
  });

afterEach(() => void vi.useRealTimers());

it("closes in order however long its hooks take", async () => {
  const { app, isDraining, close } = await open();
  const held = Promise.withResolvers<void>();
  const last = vi.fn(async () => undefined);
  app.addHook("preClose", () => held.promise);
  app.addHook("preClose", last);
  await app.ready();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const closed = close();
  expect(isDraining()).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  held.resolve();
  await closed;
  expect(last).toHaveBeenCalledOnce();
});
