/** How a plan's page looks in each of its states, and how payers use it, with and without scripts. */
import type { Browser, Page } from "playwright-core";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { renderPlan } from "../../server/plan/page/page.ts";
import { violationsOf } from "../support/axe.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { startNode, type TestNode } from "../support/node.ts";
import { changePlan, createPlan } from "../support/plan.ts";
import { partsOf, planStates, planViewOf, startPlanPages } from "../support/plan-page.ts";
import { seeHeading } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

const widths = [320, 390, 1440];

describe("plan page", () => {
  it.each([
    ["en", "light"],
    ["sw", "dark"],
    ["bn", "light"],
  ] as const)(
    "fits and has no accessibility fault in any state: %s, %s",
    async (lang, colorScheme) => {
      const server = await startPlanPages();
      const { page, complaints } = await openPage(browser, { viewport: { width: 320, height: 700 }, colorScheme });
      const found: Record<string, unknown[]> = {};
      for (const name of [...Object.keys(planStates), "no-such-plan"]) {
        await page.goto(`${server.url}/plan/${name}?lang=${lang}`);
        await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true");
        found[name] = await violationsOf(page);
        for (const width of widths) {
          await page.setViewportSize({ width, height: 700 });
          const shown = await page.evaluate("document.documentElement.scrollWidth");
          if (shown !== width) found[name].push(`${shown} px wide at ${width} px`);
        }
      }
      expect(found).toEqual(Object.fromEntries(Object.keys(found).map((name) => [name, []])));
      // One address is unknown.
      expect(complaints.filter((text) => !/404/.test(text))).toEqual([]);
    },
    300_000,
  );

  it("shows the next instalments of a long plan, and the others when they are unfolded by the keyboard", async () => {
    const server = await startPlanPages();
    const { page } = await openPage(browser, { viewport: { width: 320, height: 700 } });
    await page.goto(`${server.url}/plan/long`);
    const rows = page.locator(".part:visible");
    expect(await rows.count()).toBe(5);
    for (const label of ["Earlier payments (39)", "Later payments (76)"]) {
      await page.getByText(label).focus();
      await page.keyboard.press("Enter");
    }
    expect(await rows.count()).toBe(120);
  });

  it("reloads once its content is another one, without a movement of the payer", async () => {
    const server = await startPlanPages();
    const { page, complaints } = await openPage(browser);
    const shown = (name: string) => ({ ...planStates[name], refreshS: 1 }) as (typeof planStates)[string];
    server.view = () => shown("in-progress");
    await page.goto(`${server.url}/plan/token`);
    await seeHeading(page, "Payment in progress");
    server.view = () => shown("completed");
    await seeHeading(page, "Everything is paid");
    expect(complaints).toEqual([]);
  });

  it("reloads while a payment is in progress in a browser without scripts, and only then", async () => {
    const server = await startPlanPages();
    const { page } = await openPage(browser, { javaScriptEnabled: false });
    const busy = { ...planStates["in-progress"], refreshS: 1 } as (typeof planStates)[string];
    server.view = () => busy;
    await page.goto(`${server.url}/plan/token`);
    server.view = () => planStates.started;
    await page.getByRole("link", { name: "Pay KES 3,333.00" }).waitFor();
    expect(await page.content()).not.toContain("http-equiv");
  });

  it("costs a payer at most 60 kB, with its scripts", async () => {
    const server = await startPlanPages();
    const { page } = await openPage(browser);
    const session = await page.context().newCDPSession(page);
    let bytes = 0;
    await session.send("Network.enable");
    session.on("Network.loadingFinished", ({ encodedDataLength }) => {
      bytes += encodedDataLength;
    });
    await page.goto(`${server.url}/plan/long?lang=bn`, { waitUntil: "networkidle" });
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(60_000);
  });

  it("writes data as text", () => {
    const evil = `"><script>alert(1)</script>`;
    const [part] = partsOf("paid");
    const html = renderPlan(planViewOf(part ? [{ ...part, receipt: evil, path: evil }] : [], { description: evil }));
    expect(html).not.toContain("<script>");
    expect(html).not.toContain(`="${evil}`);
  });
});

describe("payer of a plan", () => {
  let node: TestNode;
  beforeEach(async () => {
    node = await startNode({ databaseUrl });
  });

  let phones = 0;
  const phoneEnding = (ending: string): string => {
    phones += 1;
    return `0712 ${String(300 + phones)} 5${ending}`;
  };

  /** Pays on the page of an instalment. */
  async function payHere(page: Page): Promise<void> {
    await page.fill("#phone", phoneEnding("01"));
    await page.click("button.primary");
    await seeHeading(page, "Paid");
  }

  it.each([true, false])(
    "pays all instalments, each from the plan's page and back (scripts: %s)",
    async (javaScriptEnabled) => {
      const plan = await createPlan(node, { description: "A phone", provider: "daraja" });
      const { page, complaints } = await openPage(browser, { javaScriptEnabled });
      await page.goto(plan.url ?? "");
      for (const n of [1, 2, 3]) {
        await page.getByText(`Instalment ${n} of 3`).waitFor();
        await page.getByRole("link", { name: "Pay KES 100.00" }).click();
        await page.getByText(`Instalment ${n} of 3`).waitFor();
        await payHere(page);
        await page.getByRole("link", { name: "All payments of this plan" }).click();
        await page.getByText(`KES ${n}00.00 of KES 300.00 paid`).waitFor();
        expect(await page.locator(".part.paid a").count()).toBe(n);
      }
      await seeHeading(page, "Everything is paid");
      expect(await page.locator("a.primary").count()).toBe(0);
      // The page of a receipt shows it to the browser that paid.
      await page.locator(".part.paid a").first().click();
      await seeHeading(page, "Paid");
      expect(complaints).toEqual([]);
    },
    180_000,
  );

  it.each([true, false])(
    "pays several instalments at once (scripts: %s)",
    async (javaScriptEnabled) => {
      const plan = await createPlan(node, { description: "A phone", provider: "daraja" });
      const { page, complaints } = await openPage(browser, { javaScriptEnabled });
      await page.goto(plan.url ?? "");
      await page.getByText("Pay several at once").click();
      await page.getByLabel("How many to pay now").selectOption("2");
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByText("Instalments 1 to 2 of 3").waitFor();
      await payHere(page);
      await page.getByRole("link", { name: "All payments of this plan" }).click();
      await page.getByText("KES 200.00 of KES 300.00 paid").waitFor();
      await page.getByText("Instalment 3 of 3").waitFor();
      expect(await page.getByText("Pay several at once").count()).toBe(0);
      expect(complaints).toEqual([]);
    },
    60_000,
  );

  it("keeps the language that they chose on both pages", async () => {
    const plan = await createPlan(node, { description: "A phone", provider: "daraja" });
    const { page } = await openPage(browser);
    await page.goto(plan.url ?? "");
    await page.getByRole("link", { name: "Kiswahili" }).click();
    await page.getByText("Awamu ya 1 kati ya 3").waitFor();
    await page.getByRole("link", { name: "Lipa Ksh 100.00" }).click();
    await page.getByText("Awamu ya 1 kati ya 3").waitFor();
    await page.getByRole("link", { name: "Malipo yote ya mpango huu" }).click();
    await page.getByText("Siku ya kulipa ni leo").first().waitFor();
  });

  it("sees a payment in progress, a pause and the end of the plan", async () => {
    const plan = await createPlan(node, { description: "A phone", provider: "daraja" });
    const { page } = await openPage(browser);
    await page.goto(plan.url ?? "");
    await page.locator("a.primary").click();
    await page.fill("#phone", phoneEnding("00"));
    await page.click("button.primary");
    await page.getByRole("heading", { name: "Check your phone" }).waitFor();
    await page.getByRole("link", { name: "All payments of this plan" }).click();
    await seeHeading(page, "Payment in progress");
    expect(await page.locator("a.primary").count()).toBe(0);
    await page.getByRole("link", { name: "Show the payment" }).click();
    await page.getByRole("heading", { name: "Check your phone" }).waitFor();
    await page.goto(plan.url ?? "");
    const other = await createPlan(node, { description: "A phone" });
    await changePlan(node, other.planId, "pause");
    await page.goto(other.url ?? "");
    await seeHeading(page, "Plan paused");
    await page.getByRole("link", { name: "Pay KES 100.00" }).waitFor();
    await changePlan(node, other.planId, "cancel");
    await page.reload();
    await seeHeading(page, "Plan cancelled");
    expect(await page.locator("a.primary").count()).toBe(0);
  });
});
