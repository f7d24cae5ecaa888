/** Creates the tables of FreeRADIUS and of the portal, and the plans. */
import { readFile } from "node:fs/promises";
import { pool } from "./store.js";

const ofRadius = "/etc/freeradius/3.0/mods-config/sql/main/postgresql/schema.sql";

const { rows } = await pool.query("select to_regclass('radcheck') as radcheck");
if (rows[0].radcheck === null) await pool.query(await readFile(ofRadius, "utf8"));
await pool.query(await readFile(new URL("schema.sql", import.meta.url), "utf8"));
await pool.end();
