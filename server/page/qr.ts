/** QR codes as pictures: black on white, with the margin that scanners need. The same text always gives the same bytes. */
import { crc32, deflateSync } from "node:zlib";
import { encodeQr } from "../../client-sdk/element/qr.ts";

/** 16, because a code of 41 modules then prints 5.5 cm wide at 300 dots per inch. */
const pixelsPerModule = 16;

/** Without a size of its own. Throws if the text is too long for a QR code. */
export function qrSvg(text: string): string {
  const { size, path } = encodeQr(text);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h${size}v${size}H0z"/><path fill="#000" d="${path}"/></svg>`;
}

/** A PNG with one bit per pixel. Throws if the text is too long for a QR code. */
export function qrPng(text: string): Buffer {
  const { size, rows } = encodeQr(text);
  const pixels = size * pixelsPerModule;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(pixels, 0);
  header.writeUInt32BE(pixels, 4);
  // One bit per pixel, grey; compression, filter and interlace are the only or the simplest ones.
  header.set([1, 0, 0, 0, 0], 8);
  const lines = rows.flatMap((row) => Array<Buffer>(pixelsPerModule).fill(scanLine(row)));
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.concat(lines), { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** A line of pixels: its filter, which is none, and one bit per pixel, set for white. */
function scanLine(row: readonly boolean[]): Buffer {
  const bytesPerModule = pixelsPerModule / 8;
  return Buffer.from([0, ...row.flatMap((isDark) => Array<number>(bytesPerModule).fill(isDark ? 0 : 0xff))]);
}

function chunk(type: string, data: Buffer): Buffer {
  const content = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  check.writeUInt32BE(crc32(content));
  return Buffer.concat([length, content, check]);
}
