/** The guarantees of docs/architecture.md. */
import { describe, expect, it } from "vitest";
import { exists, textOf } from "./markdown.ts";

/** Files that a table's cell names in backticks. */
const filesIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, path = ""]) => path);

describe("docs/architecture.md", () => {
  const rows = textOf("docs/architecture.md").matchAll(/^\| \*\*G(\d+)\*\* \| .+? \| (.+?) \| (.+?) \|$/gm);
  const guarantees = [...rows].map(([, number = "", code = "", proofs = ""]) => ({
    number: Number(number),
    files: [...filesIn(code), ...filesIn(proofs)],
  }));

  it("numbers the guarantees from 1 to 12", () => {
    expect(guarantees.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it.each(guarantees)("names existing files for G$number", ({ files }) => {
    expect(files.filter((file) => !exists(file))).toEqual([]);
  });
});
