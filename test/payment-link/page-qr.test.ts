/** The QR codes as pictures, and the page to print, read back like a scanner does. */

import type { Browser, Page } from "playwright-core";
import { decodeQR } from "qr/decode.js";
import { beforeAll, describe, expect, it } from "vitest";
import { qrPng, qrSvg } from "../../server/page/qr.ts";
import { violationsOf } from "../support/axe.ts";
import { launchBrowser, openPage } from "../support/browser.ts";
import { linkUrl, startCheckout } from "../support/checkout.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
  return () => browser.close();
}, 300_000);

interface Picture {
  width: number;
  height: number;
  data: Uint8Array;
  /** Every colour that occurs. */
  colours: string[];
}

/** The pixels of a picture, as the browser draws it. Their red parts travel, because a list of numbers would take long. */
async function pixelsOf(page: Page, type: string, bytes: Buffer, size = 0): Promise<Picture> {
  const { width, height, reds, colours } = (await page.evaluate(`(async () => {
    const image = new Image();
    image.src = "data:${type};base64,${bytes.toString("base64")}";
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = ${size} || image.naturalWidth;
    canvas.height = ${size} || image.naturalHeight;
    const drawing = canvas.getContext("2d");
    drawing.drawImage(image, 0, 0, canvas.width, canvas.height);
    const pixels = new Uint32Array(drawing.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const colours = Array.from(new Set(pixels), (pixel) => pixel.toString(16)).sort();
    const reds = Array.from(pixels, (pixel) => String.fromCharCode(pixel & 255)).join("");
    return { width: canvas.width, height: canvas.height, reds: btoa(reds), colours };
  })()`)) as Omit<Picture, "data"> & { reds: string };
  const data = Uint8Array.from(Buffer.from(reds, "base64"));
  const rgba = new Uint8Array(data.length * 4).map((_zero, at) => (at % 4 === 3 ? 255 : (data[at >> 2] ?? 0)));
  return { width, height, data: rgba, colours };
}

/** How many pixels are white on each side of the code: left, above, right, below. */
function marginsOf({ width, height, data }: Picture): number[] {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let at = 0; at < width * height; at += 1) {
    if (data[4 * at] === 255) continue;
    const [x, y] = [at % width, Math.floor(at / width)];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  }
  return [left, top, width - 1 - right, height - 1 - bottom];
}

/** Opaque. */
const blackAndWhite = ["ff000000", "ffffffff"];

describe("QR code", () => {
  it("decodes from the PNG, black on white with a margin of 4 modules", async () => {
    const { page } = await openPage(browser);
    const picture = await pixelsOf(page, "image/png", qrPng(linkUrl));
    expect(decodeQR(picture)).toBe(linkUrl);
    expect(picture.colours).toEqual(blackAndWhite);
    expect(marginsOf(picture)).toEqual([64, 64, 64, 64]);
  });

  it("decodes from the SVG, black on white with a margin of 4 modules", async () => {
    const { page } = await openPage(browser);
    const modules = Number(/viewBox="0 0 (\d+)/.exec(qrSvg(linkUrl))?.[1]);
    const picture = await pixelsOf(page, "image/svg+xml", Buffer.from(qrSvg(linkUrl)), modules * 8);
    expect(decodeQR(picture)).toBe(linkUrl);
    expect(picture.colours).toEqual(blackAndWhite);
    expect(marginsOf(picture)).toEqual([32, 32, 32, 32]);
  });

  it("gives the same bytes for the same text, and refuses a text that is too long", () => {
    expect(qrPng(linkUrl).equals(qrPng(linkUrl))).toBe(true);
    expect(qrPng(linkUrl).length).toBeLessThan(4_000);
    expect(() => qrPng("x".repeat(3_000))).toThrow();
  });
});

describe("page to print", () => {
  it.each(["en", "sw", "bn"])("is one A6 page whose code can be scanned: %s", async (lang) => {
    const server = await startCheckout();
    const { page, complaints } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    await page.goto(`${server.url}/pay/token/print?lang=${lang}`);
    expect(await violationsOf(page)).toEqual([]);
    // Its script has run.
    await page.locator("#print").waitFor();
    const shot = await page.locator(".qr").screenshot();
    // The policy of the page itself allows such a picture.
    expect(decodeQR(await pixelsOf(page, "image/png", shot))).toBe(linkUrl);
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await page.locator(".qr").screenshot();
    expect(dark.equals(shot)).toBe(true);
    const pdf = (await page.pdf({ preferCSSPageSize: true })).toString("latin1");
    expect(pdf.match(/\/Type ?\/Page\b(?!s)/g)).toHaveLength(1);
    const [width = 0, height = 0] = (/\/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]/.exec(pdf) ?? []).slice(1).map(Number);
    // A6 in points, 1/72 inch.
    expect([width / 72, height / 72].map((inches) => Math.round(inches * 25.4))).toEqual([105, 148]);
    expect(complaints).toEqual([]);
  });
});
