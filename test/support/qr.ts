/** Reads QR codes as a scanner does. */
import type { BrowserContext } from "playwright-core";
import decodeQr from "qr/decode.js";

interface Picture {
  width: number;
  height: number;
  /** Four bytes for each pixel. */
  data: Uint8ClampedArray;
}

/** Decodes the QR code in a PNG. Throws unless the code is black on white, because many scanners read no other. */
export async function scanPng(context: BrowserContext, png: Buffer): Promise<string> {
  const picture = await readPixels(context, png.toString("base64"));
  // The quiet zone: this decoder also reads white on black.
  const topMiddle = 4 * (2 * picture.width + Math.floor(picture.width / 2));
  if (picture.data.slice(topMiddle, topMiddle + 3).some((channel) => channel !== 255)) {
    throw new Error("the QR code has no white border");
  }
  return decodeQr(picture);
}

async function readPixels(context: BrowserContext, base64: string): Promise<Picture> {
  const blank = await context.newPage();
  const { width, height, bytes } = await blank.evaluate<{
    width: number;
    height: number;
    bytes: string;
  }>(`(async () => {
    const image = new Image();
    image.src = "data:image/png;base64,${base64}";
    await image.decode();
    const { width, height } = image;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    let bytes = "";
    for (const byte of context.getImageData(0, 0, width, height).data) bytes += String.fromCharCode(byte);
    return { width, height, bytes };
  })()`);
  await blank.close();
  return { width, height, data: Uint8ClampedArray.from(Buffer.from(bytes, "latin1")) };
}
