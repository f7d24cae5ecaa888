/** `useOrderStatus`: its types, its server rendering, and its behaviour in a browser in Strict Mode with a real node. */
import { fileURLToPath } from "node:url";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { rolldown } from "rolldown";
import { describe, expect, expectTypeOf, it, onTestFinished, vi } from "vitest";
import { type OrderStatusOptions, type Snapshot, useOrderStatus } from "../../client-sdk/react.ts";
import { launchBrowser, openPage, startMerchantPage } from "../support/browser.ts";
import { createDatabase } from "../support/database.ts";
import { pay, startNode } from "../support/node.ts";

describe("useOrderStatus", () => {
  it("accepts the options of watchOrder except a signal, and returns a snapshot", () => {
    expectTypeOf(useOrderStatus).returns.toEqualTypeOf<Snapshot>();
    expectTypeOf<{ url: string; orderId: string; token: undefined }>().toExtend<OrderStatusOptions>();
    expectTypeOf<OrderStatusOptions>().not.toHaveProperty("signal");
    expectTypeOf<{ url: string; token: string }>().not.toExtend<OrderStatusOptions>();
  });

  it("renders on a server and watches nothing there", () => {
    const fetched = vi.spyOn(globalThis, "fetch");
    onTestFinished(() => fetched.mockRestore());
    const Status = (): string => {
      const { event, connection } = useOrderStatus({ url: "https://pay.example", orderId: "ORD-1", token: "t" });
      return `${connection} ${event?.status ?? "-"}`;
    };
    expect(renderToString(createElement(Status))).toBe("connecting -");
    expect(fetched).not.toHaveBeenCalled();
  });

  it("watches in Strict Mode, changes to another order without the first one's state, and stops on unmount", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const node = await startNode({ databaseUrl: database.url });
    const one = await pay(node, { phone: "+254712345601" });
    const two = await pay(node, { phone: "+254712345602" });
    const shop = await startMerchantPage(node.url, [{ name: "tukio.js", code: await bundlePage() }]);
    shop.body = `<div id="root"></div>`;
    const browser = await launchBrowser();
    onTestFinished(() => browser.close());
    const { page, complaints } = await openPage(browser);
    const optionsOf = ({ order, watchToken }: typeof one) => ({
      url: node.url,
      orderId: order.orderId,
      token: watchToken,
    });
    await page.addInitScript(`globalThis.options = ${JSON.stringify({ ...optionsOf(one), token: undefined })}`);
    await page.goto(shop.origin);
    await page.getByText(`${one.order.orderId} - - connecting -`).waitFor();
    await page.evaluate(`show(${JSON.stringify(optionsOf(one))})`);
    await page.getByText(`${one.order.orderId} ${one.order.orderId} succeeded open -`).waitFor();
    await vi.waitUntil(() => node.watchedOrders() === 1);
    await page.evaluate(`show(${JSON.stringify(optionsOf(two))})`);
    await page.getByText(`${two.order.orderId} ${two.order.orderId} failed open -`).waitFor();
    const renders = (await page.evaluate("renders")) as string[];
    expect(renders.filter((text) => text.startsWith(`${two.order.orderId} ${one.order.orderId}`))).toEqual([]);
    await page.evaluate("show(undefined)");
    await vi.waitUntil(() => node.watchedOrders() === 0);
    expect(complaints).toEqual([]);
  });
});

/** Bundles React's development build, because only that one mounts twice in Strict Mode. */
async function bundlePage(): Promise<string> {
  const build = await rolldown({
    input: fileURLToPath(new URL("../support/react-page.ts", import.meta.url)),
    platform: "browser",
    tsconfig: false,
    transform: { define: { "process.env.NODE_ENV": '"development"' } },
  });
  const { output } = await build.generate({ format: "esm", codeSplitting: false });
  await build.close();
  return output[0].code;
}
