/** Encodes a QR code. Loaded only when a ticket is shown. */
import { encode } from "uqr";

/** A QR code in a square of `size` modules that includes the quiet zone. */
export interface QrCode {
  size: number;
  /** Whether each module is dark, from top to bottom and from left to right. */
  rows: readonly (readonly boolean[])[];
  /** The dark modules as an SVG path. */
  path: string;
}

/** 4 modules of quiet zone on each side, because scanners need them (ISO/IEC 18004). Throws if the text is too long. */
export function encodeQr(text: string): QrCode {
  const { size, data } = encode(text, { ecc: "M", boostEcc: true, border: 4 });
  const path = data.map((row, y) =>
    runsOf(row)
      .map(([x, length]) => `M${x} ${y}h${length}v1h-${length}z`)
      .join(""),
  );
  return { size, rows: data, path: path.join("") };
}

/** The runs of dark modules of a row, because one rectangle each has no seams inside. */
function runsOf(row: readonly boolean[]): [start: number, length: number][] {
  const runs: [number, number][] = [];
  for (const [x, isDark] of row.entries()) {
    if (!isDark) continue;
    const last = runs[runs.length - 1];
    if (last && last[0] + last[1] === x) last[1] += 1;
    else runs.push([x, 1]);
  }
  return runs;
}
