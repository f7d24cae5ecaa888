/**
 * Records who changed what with an API key: every request with a key that is no GET. It has ids only.
 *
 * Guarantees: a change that needs the scope `manage` is recorded before it is made, and refused while it cannot be recorded. Its end is
 * recorded before the answer; a change that was refused leaves no record. A change that needs the scope `pay` is recorded after it was
 * made, because a record before it would cost a payment a further commit: with those of half a second in one statement.
 * Does not guarantee: that a change with `pay` is recorded if the process is killed within that time, or if PostgreSQL stays unreachable
 * until the node is closed or 10,000 records wait. The order's own history is committed with the change.
 */
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from "fastify";
import type pg from "pg";
import { scopeOf } from "../auth/access.ts";
import type { ApiKey } from "../auth/api-key.ts";
import { reportTask } from "../log.ts";
import { startLoop } from "../loop.ts";
import { run } from "../order/statement.ts";
import { storable } from "../validation.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The record of the change that the request is about to make. */
    change?: Begun;
  }
}

/** The place of a record that was written before its change. */
interface Begun {
  at: Date;
  id: number;
}

/** A change that was made. */
interface Made {
  operation: string;
  key: ApiKey;
  subject: string | undefined;
  /** By the monotonic clock. */
  atMs: number;
}

export interface Recorder {
  /** Records what is left. */
  close(): Promise<void>;
}

const periodMs = 500;

/** Records of one statement. */
const batchMax = 1_000;

/** A node holds a few megabytes of records at most. */
const waitingMax = 10_000;

export const beginStatement = {
  name: "begin-change",
  text: `insert into audit (operation, key_id, key_name, is_desk, subject, is_done) values ($1, $2, $3, $4, $5, false) returning at, id`,
} as const;

export const endStatement = {
  name: "end-change",
  text: "update audit set is_done = true, subject = coalesce($3, subject) where (at, id) = ($1, $2)",
} as const;

export const withdrawStatement = {
  name: "withdraw-change",
  text: "delete from audit where (at, id) = ($1, $2)",
} as const;

/** $1: milliseconds that have passed since each change. */
export const recordStatement = {
  name: "record-changes",
  text: `insert into audit (at, operation, key_id, key_name, is_desk, subject, is_done)
    select date_trunc('milliseconds', clock_timestamp()) - ago * interval '1 millisecond', operation, key_id, key_name, is_desk, subject, true
    from unnest($1::float8[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[])
      as made (ago, operation, key_id, key_name, is_desk, subject)`,
} as const;

/** Records the changes of the routes that are added to the app from now on. */
export function recordChanges(
  app: FastifyInstance,
  { pool, log }: { pool: pg.Pool; log: FastifyBaseLogger },
): Recorder {
  let waiting: Made[] = [];
  let isDropping = false;

  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, batchMax);
      await run(pool, recordStatement, columnsOf(batch));
      waiting = waiting.slice(batch.length);
      isDropping = false;
    }
  };
  const loop = startLoop({ task: flush, delayMs: () => periodMs, ...reportTask(log, "audit") });

  const record = (made: Made): void => {
    if (waiting.length < waitingMax) waiting.push(made);
    else if (!isDropping) {
      isDropping = true;
      log.error({ event: "audit.record.lost" }, "changes were not recorded");
    }
  };

  const begin = async (request: FastifyRequest): Promise<void> => {
    const { apiKey } = request;
    if (!apiKey) return;
    const values = [operationOf(request), ...fieldsOf(apiKey), subjectOf(request)];
    const [change] = await run<Begun>(pool, beginStatement, values);
    if (change) request.change = change;
  };

  const end = async (request: FastifyRequest, { statusCode }: FastifyReply): Promise<void> => {
    const { change } = request;
    // After another failure the change may have been made: its record stays as it is.
    if (!change || statusCode >= 500) return;
    const values = [change.at, change.id];
    const ended =
      statusCode < 400
        ? run(pool, endStatement, [...values, subjectOf(request)])
        : run(pool, withdrawStatement, values);
    await ended.catch((err: unknown) =>
      log.error({ event: "audit.end.failed", err }, "the end of a change was not recorded"),
    );
  };

  const recordLater = (request: FastifyRequest, reply: FastifyReply, _payload: unknown, done: () => void): void => {
    const { apiKey: key } = request;
    // A repeated request has changed nothing.
    if (key && reply.statusCode < 400 && !reply.hasHeader("idempotency-replayed"))
      record({ operation: operationOf(request), key, subject: subjectOf(request), atMs: performance.now() });
    done();
  };

  app.decorateRequest("apiKey");
  app.decorateRequest("subject");
  app.decorateRequest("change");
  app.addHook("onRoute", (route) => {
    const scope = scopeOf(route.schema);
    if (!scope || isSafe(route)) return;
    if (scope === "manage") {
      route.preHandler = [route.preHandler ?? [], begin].flat();
      route.onSend = [route.onSend ?? [], end].flat();
    } else route.onSend = [route.onSend ?? [], recordLater].flat();
  });

  return {
    async close() {
      await loop.close();
      await flush().catch((err: unknown) =>
        log.error({ event: "audit.record.lost", count: waiting.length, err }, "changes were not recorded"),
      );
    },
  };
}

const isSafe = ({ method }: RouteOptions): boolean => [method].flat().every((one) => one === "GET" || one === "HEAD");

/** The operation of the API docs. */
function operationOf({ routeOptions }: FastifyRequest): string {
  const { schema, url } = routeOptions;
  return schema && "operationId" in schema ? String(schema.operationId) : String(url);
}

/** What was created, or the first id in the path. Nothing has an id that cannot be stored, so that its change is refused. */
function subjectOf({ subject, params }: FastifyRequest): string | undefined {
  const named = subject ?? Object.values((params ?? {}) as Record<string, string>)[0];
  return named !== undefined && storable(named) ? named : undefined;
}

const fieldsOf = ({ id, name, session }: ApiKey): [string, string, boolean] => [id, name, session !== undefined];

/** The values of `recordStatement`. */
function columnsOf(batch: readonly Made[]): unknown[] {
  const now = performance.now();
  const fields = batch.map(({ key }) => fieldsOf(key));
  return [
    batch.map(({ atMs }) => Math.round(now - atMs)),
    batch.map(({ operation }) => operation),
    fields.map(([id]) => id),
    fields.map(([, name]) => name),
    fields.map(([, , isDesk]) => isDesk),
    batch.map(({ subject }) => subject ?? null),
  ];
}
