/** The output of the command: text for people, with colours on a terminal, or JSON for programs. */

export type Colour = "bold" | "dim" | "red" | "green" | "yellow";

const codes: Readonly<Record<Colour, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 };

export interface Output {
  /** Prints a line for people. Prints nothing as JSON. */
  line(text?: string): void;
  /** Prints an object on one line as JSON. Prints nothing for people. */
  json(value: object): void;
  /** Prints a line for people to the standard error; as JSON the object, or nothing without one. */
  warn(text: string, object?: object): void;
  /** Prints the reason of a failure to the standard error: `text` for people, or JSON. */
  fail(error: Failure, text?: string): void;
  paint(colour: Colour, text: string): string;
}

/** `code` is stable, for programs. `status` is the HTTP status. */
export interface Failure {
  code: string;
  detail: string;
  status?: number | undefined;
}

interface Stream {
  isTTY?: boolean;
  write(text: string): unknown;
}

export interface OutputOptions {
  out: Stream;
  error: Stream;
  env: Readonly<Record<string, string | undefined>>;
  isJson: boolean;
}

/** Colours only on a terminal, and not with `NO_COLOR` (no-color.org). */
export function createOutput({ out, error, env, isJson }: OutputOptions): Output {
  const hasColours = !isJson && out.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb";
  const warn = (text: string, object?: object): void => {
    if (!isJson) error.write(`${text}\n`);
    else if (object) error.write(`${JSON.stringify(object)}\n`);
  };
  return {
    line: (text = "") => void (isJson || out.write(`${text}\n`)),
    json: (value) => void (isJson && out.write(`${JSON.stringify(value)}\n`)),
    warn,
    fail: (failure, text = failure.detail) => warn(text, { error: failure }),
    paint: (colour, text) => (hasColours ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text),
  };
}

/** Text of others, such as a provider's, without characters that a terminal would obey. */
export const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");

/** Minor-unit digits by ISO 4217, where the tables of Node differ, because they describe cash. */
const digitsOf: Readonly<Record<string, number>> = { KES: 2, TZS: 2, BDT: 2, UGX: 0, RWF: 0 };

/** `KES 1,500.00`, exactly. */
export function money(amountMinor: number, currency: string): string {
  try {
    const style = { style: "currency", currency, currencyDisplay: "code" } as const;
    const digits =
      digitsOf[currency] ?? new Intl.NumberFormat("en", style).resolvedOptions().maximumFractionDigits ?? 2;
    const format = new Intl.NumberFormat("en", {
      ...style,
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
    return format.format(amountMinor / 10 ** digits).replace(/\s/g, " ");
  } catch {
    return `${currency} ${amountMinor / 100}`;
  }
}

const statusColours: Readonly<Record<string, Colour>> = {
  succeeded: "green",
  failed: "red",
  expired: "red",
  review: "yellow",
};

/** `failed (cancelled)`, in the status's colour. */
export const statusText = (output: Output, { status, reason }: { status: string; reason?: string }): string =>
  output.paint(statusColours[status] ?? "bold", plain(status)) + (reason ? ` (${plain(reason)})` : "");
