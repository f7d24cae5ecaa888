import { describe, expect, it } from "vitest";
import { createConfirmOnce } from "../../server/webhook/subscription.ts";

const url = new URL("https://sns.ap-southeast-1.amazonaws.com/?Token=1");

function open() {
  const ground = { ms: 0, isDown: false, visits: 0 };
  const confirmOnce = createConfirmOnce({ nowMs: () => ground.ms });
  const visit = (address: URL): Promise<void> =>
    confirmOnce(address, async () => {
      ground.visits += 1;
      if (ground.isDown) throw new Error("HTTP 500");
    });
  return { ground, visit };
}

describe("subscriptions", () => {
  it("visits each address once an hour", async () => {
    const { ground, visit } = open();
    await Promise.all(Array.from({ length: 50 }, () => visit(url)));
    ground.ms = 3_599_999;
    await visit(url);
    expect(ground.visits).toBe(1);
    await visit(new URL("https://sns.ap-southeast-1.amazonaws.com/?Token=2"));
    expect(ground.visits).toBe(2);
    ground.ms = 3_600_000;
    await visit(url);
    expect(ground.visits).toBe(3);
  });

  it("retries a minute after a failure, and throws until then", async () => {
    const { ground, visit } = open();
    ground.isDown = true;
    await expect(visit(url)).rejects.toThrow("HTTP 500");
    ground.isDown = false;
    ground.ms = 1_000;
    await expect(visit(url)).rejects.toMatchObject({ code: "provider_unavailable", details: { retryAfterS: 59 } });
    ground.ms = 60_000;
    await visit(url);
    await visit(url);
    expect(ground.visits).toBe(2);
  });
});
