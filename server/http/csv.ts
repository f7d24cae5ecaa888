/**
 * Answers in CSV (RFC 4180), of any length. Pages are read one after the other, each when the client has taken the one before, so that a
 * node holds one page of each answer, whatever the client's speed (G12). A client that leaves, or takes nothing for two minutes, ends the reads. A
 * failure after the first page cuts the connection, so that no client takes a part for the whole.
 */
import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import { HubError } from "../errors.ts";

export type Cell = string | number | boolean | null | undefined;

export interface Column<Row> {
  name: string;
  value: (row: Row) => Cell;
}

export interface CsvAnswer<Row> {
  /** The name of the file, without its ending. */
  name: string;
  columns: readonly Column<Row>[];
  pages: AsyncGenerator<readonly Row[], void, undefined>;
}

export type SendCsv = <Row>(reply: FastifyReply, answer: CsvAnswer<Row>) => Promise<FastifyReply>;

/** Answers of one node at once. 4, because each reads the database without a pause. */
const answersMax = 4;

/** A page has about 300 kB, which takes less even at the speed of a modem. */
const stallMs = 120_000;

/** Excel reads a file without this mark in another encoding than UTF-8. */
const byteOrderMark = "\uFEFF";

/**
 * The beginnings that make a spreadsheet read a cell as a formula (OWASP, CSV injection), also after spaces, and their full-width forms,
 * which some spreadsheets replace.
 */
const formula = /^\s*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]|^[\t\r\n]/u;

/** A text that a spreadsheet could run has an apostrophe before it. Numbers are ours, and never negative. */
export function cellText(value: Cell): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = formula.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const lineOf = (cells: readonly Cell[]): string => `${cells.map(cellText).join(",")}\r\n`;

/** Returns the function that sends CSV in this scope. Answers end when the node shuts down. */
export function createCsv(scope: FastifyInstance): SendCsv {
  const streams = new Set<Readable>();
  let begun = 0;
  scope.addHook("preClose", async () => {
    for (const stream of streams) stream.destroy(new Error("the node shuts down"));
  });

  return async (reply, answer) => {
    if (begun >= answersMax) {
      throw new HubError("rate_limited", "Too many files are being sent by this node", { retryAfterS: 10 });
    }
    begun += 1;
    const end = (): void => {
      begun -= 1;
    };
    // Before the headers, so that a refused filter or an absent database is an ordinary problem.
    const first = await answer.pages.next().catch((error: unknown) => {
      end();
      throw error;
    });
    const stall = setTimeout(() => stream.destroy(new Error("the client takes nothing")), stallMs);
    const text = textOf(first.done ? [] : first.value, answer, () => void stall.refresh());
    const stream = Readable.from(text, { objectMode: false });
    streams.add(stream);
    stream.once("close", () => {
      clearTimeout(stall);
      streams.delete(stream);
      end();
    });
    return reply
      .type("text/csv; charset=utf-8; header=present")
      .header("content-disposition", `attachment; filename="${answer.name}.csv"`)
      .send(stream);
  };
}

/** `onTaken`: called whenever the client has taken a page. */
async function* textOf<Row>(
  first: readonly Row[],
  { columns, pages }: CsvAnswer<Row>,
  onTaken: () => void,
): AsyncGenerator<string> {
  const linesOf = (rows: readonly Row[]): string =>
    rows.map((row) => lineOf(columns.map(({ value }) => value(row)))).join("");
  yield byteOrderMark + lineOf(columns.map(({ name }) => name)) + linesOf(first);
  for await (const rows of pages) {
    onTaken();
    if (rows.length > 0) yield linesOf(rows);
  }
}

/** All pages of a list. Each is a statement of its own, so that none sees a snapshot for long. */
export async function* pagesOf<Row>(
  read: (cursor: string | undefined) => Promise<{ data: readonly Row[]; nextCursor: string | null }>,
): AsyncGenerator<readonly Row[], void, undefined> {
  let cursor: string | undefined;
  do {
    const { data, nextCursor } = await read(cursor);
    yield data;
    cursor = nextCursor ?? undefined;
  } while (cursor !== undefined);
}
