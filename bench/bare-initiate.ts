/** What initiating is compared with: a bare Fastify route that commits one row and answers 202. */
import Fastify from "fastify";
import pg from "pg";

const { PORT, DATABASE_URL } = process.env;
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 12 });
await pool.query("create table if not exists bare (id bigint generated always as identity primary key, body jsonb)");
const app = Fastify();
app.get("/", async () => "ok");
app.post("/v1/payments", async (request, reply) => {
  const values = [JSON.stringify(request.body)];
  const { rows } = await pool.query({
    name: "one",
    text: "insert into bare (body) values ($1) returning id, body",
    values,
  });
  return reply.code(202).send(rows[0]);
});
await app.listen({ port: Number(PORT), host: "127.0.0.1" });
