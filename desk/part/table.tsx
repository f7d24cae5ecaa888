/**
 * A table of records. On a narrow screen each row becomes a card with the same cells; the roles keep its meaning for assistive
 * technology, because browsers drop that of a table whose layout changes.
 */
// biome-ignore-all lint/a11y/noRedundantRoles: see above
import { type ColumnDef, tableFeatures, useTable } from "@tanstack/react-table";
import type { ReactNode } from "react";
import { Button } from "./button.tsx";

const features = tableFeatures({});

/** Define the columns outside of the component, because a table keeps them between renders. */
export type Columns<Row> = readonly Column<Row>[];

export interface Column<Row> {
  id: string;
  title: string;
  /**
   * `main`: the heading of the card on a narrow screen. `number`: aligned at the end, and beside the heading. `bare`: needs no title
   * on a card, where it shares a line with others.
   */
  kind?: "main" | "number" | "bare";
  cell: (row: Row) => ReactNode;
}

export interface TableProps<Row> {
  /** Names the table for assistive technology. */
  label: string;
  columns: Columns<Row>;
  rows: readonly Row[];
  rowId: (row: Row) => string;
}

type Definition<Row extends object> = ColumnDef<typeof features, Row>;

export function Table<Row extends object>({ label, columns, rows, rowId }: TableProps<Row>): ReactNode {
  const definitions = columns.map(
    ({ id, title, cell }): Definition<Row> => ({
      id,
      header: title,
      cell: ({ row }) => cell(row.original),
    }),
  );
  const table = useTable({ features, columns: definitions, data: rows, getRowId: rowId });
  const classes = new Map(columns.map(({ id, kind }) => [id, kind]));
  return (
    <div className="table-frame">
      <table role="table" aria-label={label}>
        <thead role="rowgroup">
          {table.getHeaderGroups().map(({ id, headers }) => (
            <tr key={id} role="row">
              {headers.map((header) => (
                <th key={header.id} role="columnheader" scope="col" className={classes.get(header.column.id)}>
                  <table.FlexRender header={header} />
                </th>
              ))}
            </tr>
          ))}
        </thead>
        <tbody role="rowgroup">
          {table.getRowModel().rows.map((row) => (
            <tr key={row.id} role="row">
              {row.getAllCells().map((cell) => (
                <td
                  key={cell.id}
                  role="cell"
                  className={classes.get(cell.column.id)}
                  data-title={String(cell.column.columnDef.header)}
                >
                  <table.FlexRender cell={cell} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export interface MoreProps {
  /** The rows that are shown. */
  shown: number;
  /** `payment`, and `payments`. */
  noun: readonly [one: string, many: string];
  query: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => Promise<unknown> };
}

/** What is below a long list: how many rows are shown, and a button for the next page. */
export const More = ({ shown, noun: [one, many], query }: MoreProps): ReactNode => (
  <div className="more">
    <p role="status">
      {shown.toLocaleString()} {shown === 1 ? one : many}
      {query.hasNextPage ? " so far" : ""}
    </p>
    {query.hasNextPage && (
      <Button isPending={query.isFetchingNextPage} onPress={() => void query.fetchNextPage()}>
        {query.isFetchingNextPage ? "Loading…" : "Show more"}
      </Button>
    )}
  </div>
);
