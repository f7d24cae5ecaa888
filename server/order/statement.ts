/** Prepared statements: sent by name, so that PostgreSQL parses each one once per connection. */
import type pg from "pg";
import { asHubError } from "../database/pool.ts";

export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Runs a prepared statement. Throws `store_unavailable` when PostgreSQL cannot be reached or is too busy. */
export async function run<Row extends object>(pool: pg.Pool, statement: Statement, values: unknown[]): Promise<Row[]> {
  try {
    return (await pool.query<Row>({ ...statement, values })).rows;
  } catch (error) {
    throw asHubError(error);
  }
}
