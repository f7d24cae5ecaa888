/**
 * The rules of the code that no linter knows: allowed imports, log events, and exceptions to the linter. Imports of types count
 * too, because they are dependencies as well.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative, sep } from "node:path";
import { parseSync, Visitor } from "rolldown/utils";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");

/** A module with its path from the root, and its imports: paths from the root, or names of packages. */
interface Module {
  path: string;
  imports: string[];
}

const modules: Module[] = ["server", "client-sdk", "merchant-sdk", "desk"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map(({ parentPath, name }) => relative(root, join(parentPath, name)).split(sep).join("/"))
    .filter((path) => !/\/(node_modules|dist)\//.test(path))
    .map((path) => ({ path, imports: importsOf(path) })),
);

function importsOf(path: string): string[] {
  const found: string[] = [];
  const add = ({ source }: { source: object | null }): void => {
    if (source && "value" in source && typeof source.value === "string") found.push(source.value);
  };
  new Visitor({
    ImportDeclaration: add,
    ExportNamedDeclaration: add,
    ExportAllDeclaration: add,
    ImportExpression: add,
    TSImportType: add,
  }).visit(parseSync(path, readFileSync(join(root, path), "utf8")).program);
  return found.map((one) =>
    one.startsWith(".")
      ? normalize(join(dirname(path), one))
          .split(sep)
          .join("/")
      : one,
  );
}

/** The imports that match `to`, of the modules that match `from`. */
function importsFrom(from: RegExp, to: RegExp): string[] {
  return modules
    .filter(({ path }) => from.test(path))
    .flatMap(({ path, imports }) => imports.filter((one) => to.test(one)).map((one) => `${path} → ${one}`));
}

/** From top to bottom. A folder imports only folders below it. */
const layers = [
  ["main.ts"],
  ["app.ts"],
  ["api-docs", "metrics"],
  ["route", "transport", "demo-shop"],
  ["doctor"],
  ["webhook"],
  ["plan"],
  ["notification"],
  ["payment-link"],
  ["payment"],
  ["config"],
  ["provider"],
  ["delivery"],
  ["key"],
  ["redis"],
  ["status"],
  ["sandbox"],
  ["schema"],
  ["page"],
  ["http"],
  ["auth"],
  ["order"],
  ["database"],
  ["cursor.ts"],
  ["rate-limit.ts", "validation.ts", "log.ts", "shutdown.ts"],
  [
    "errors.ts",
    "in-flight.ts",
    "issue.ts",
    "json.ts",
    "json-fault.ts",
    "loop.ts",
    "order-id.ts",
    "phone-text.ts",
    "trace.ts",
  ],
];

const partOf = (path: string): string | undefined => /^server\/([^/]+)/.exec(path)?.[1];

/** Returns -1 for a part without a layer. */
const layerOf = (part: string): number => layers.findIndex((layer) => layer.includes(part));

it("every folder and module of server/ has a layer", () => {
  const parts = new Set(modules.flatMap(({ path }) => partOf(path) ?? []));
  expect([...parts].toSorted()).toEqual(layers.flat().toSorted());
});

it("imports point to lower layers only", () => {
  const upward = modules.flatMap(({ path, imports }) =>
    imports.filter((one) => {
      const [from, to] = [partOf(path), partOf(one)];
      return from && to && from !== to && layerOf(to) <= layerOf(from);
    }),
  );
  expect(upward).toEqual([]);
});

it("no module imports itself through others", () => {
  const graph = new Map(modules.map(({ path, imports }) => [path, imports]));
  const isDone = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, above: string[]): void => {
    if (above.includes(path)) cycles.push([...above.slice(above.indexOf(path)), path].join(" → "));
    if (isDone.has(path) || above.includes(path)) return;
    for (const one of graph.get(path) ?? []) visit(one, [...above, path]);
    isDone.add(path);
  };
  for (const { path } of modules) visit(path, []);
  expect(cycles).toEqual([]);
});

it.each([
  ["only redis/ imports ioredis", /^server\/(?!redis\/)/, /^ioredis$/],
  [
    "only modules with SQL import pg or kysely",
    /^server\/(?!database\/|order\/|delivery\/|payment-link\/|plan\/|notification\/|key\/|doctor\/|auth\/node-secret\.ts|provider\/(access-token|call-record)\.ts)/,
    /^(pg|kysely)(\/|$)/,
  ],
  [
    "only the registry imports a provider's folder",
    /^server\/(?!provider\/)|^server\/provider\/(?!registry\.ts)[^/]+$/,
    /^server\/provider\/[^/]+\//,
  ],
  [
    "transports never import each other",
    /^server\/transport\/(socketio|websocket|eventsource|longpoll)\.ts/,
    /^server\/transport\/(socketio|websocket|eventsource|longpoll)\.ts/,
  ],
  [
    "the SDK's transports never import each other",
    /^client-sdk\/transport\//,
    /^client-sdk\/transport\/(socketio|websocket|eventsource|longpoll)\.ts/,
  ],
  [
    "the SDK's transports do not import their users",
    /^client-sdk\/transport\//,
    /^client-sdk\/(watch|link|element|react)\.ts/,
  ],
  ["the SDK imports nothing of the server", /^client-sdk\//, /^(server|test)\//],
  ["the SDK's protocol imports nothing", /^client-sdk\/protocol\.ts/, /./],
  ["the merchant's SDK imports nothing else", /^merchant-sdk\/(?!build\/)/, /^(server|test|client-sdk)\//],
  ["the merchant's client does not import the command", /^merchant-sdk\/(?!command\/)/, /^merchant-sdk\/command\//],
  ["nothing else imports the merchant's SDK, but the desk its types", /^(server|client-sdk)\//, /^merchant-sdk\//],
  [
    "the desk imports the API's types and rules of the protocol, and no code of the server",
    /^desk\//,
    /^(server|test)\/|^merchant-sdk\/(?!schema\.ts|model\.ts)|^client-sdk\/(?!protocol\.ts|money\.ts)/,
  ],
  ["nothing imports the desk", /^(server|client-sdk|merchant-sdk)\//, /^desk\//],
  [
    "the desk's parts do not import its screens, but the sign-in",
    /^desk\/(api|part|word)\//,
    /^desk\/screen\/(?!sign-in)/,
  ],
  [
    "the server imports the SDK's constants and built files, not its code",
    /^server\/(?!page\/|payment-link\/|plan\/|notification\/)/,
    /^client-sdk\/(?!protocol\.ts|close-code\.ts|provider-name\.ts|build\/served\.ts)/,
  ],
  [
    "pages and mails for payers also import what the SDK shows, which uses no DOM",
    /^server\/(page|payment-link|plan|notification)\//,
    /^client-sdk\/(?!protocol\.ts|provider-name\.ts|money\.ts|element\/(words(-\w+)?|result-words|presentation|result|countdown|icon-path|qr)\.ts)/,
  ],
])("%s", (_sentence, from, to) => {
  expect(importsFrom(from, to)).toEqual([]);
});

it("providers never import each other", () => {
  const foreign = modules.flatMap(({ path, imports }) => {
    const own = /^server\/provider\/[^/]+\//.exec(path)?.[0];
    return imports.filter((one) => own && /^server\/provider\/[^/]+\//.test(one) && !one.startsWith(own));
  });
  expect(foreign).toEqual([]);
});

/** A call of a log function, as in `log.warn({ event: "webhook.applied", … }, "message")`. */
interface LogCall {
  /** The path and line of the call. */
  at: string;
  /** The literal `event`, if it is the first property of the first argument. */
  event: string | undefined;
  /** The source of the message. */
  message: string;
}

/** The part of a syntax tree's node that these rules read. */
interface Node {
  type: string;
  start: number;
  end: number;
  name?: string;
  value?: unknown;
  object?: Node;
  property?: Node;
  key?: Node;
  properties?: Node[];
}

const textOf = (path: string): string => readFileSync(join(root, path), "utf8");

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split("\n").length;

const isLog = ({ name, property }: Node): boolean => (property?.name ?? name) === "log";

function eventOf(details: Node | undefined): string | undefined {
  const first = details?.properties?.[0];
  const value = first?.key?.name === "event" ? (first.value as Node).value : undefined;
  return typeof value === "string" ? value : undefined;
}

function logCallsOf(path: string): LogCall[] {
  const text = textOf(path);
  const found: LogCall[] = [];
  new Visitor({
    CallExpression({ callee, arguments: given, start }) {
      const { object, property } = callee as Node;
      if (!object || !isLog(object) || !/^(fatal|error|warn|info|debug)$/.test(property?.name ?? "")) return;
      const [details, message] = given as Node[];
      found.push({
        at: `${path}:${lineAt(text, start)}`,
        event: eventOf(details),
        message: message ? text.slice(message.start, message.end) : "",
      });
    },
  }).visit(parseSync(path, text).program);
  return found;
}

describe("log lines of the server", () => {
  const calls = modules.filter(({ path }) => path.startsWith("server/")).flatMap(({ path }) => logCallsOf(path));

  it("begin with an event, a literal such as `webhook.applied`", () => {
    expect(calls.length).toBeGreaterThan(30);
    expect(calls.filter(({ event }) => !/^[a-z]+(\.[a-z_]+)+$/.test(event ?? ""))).toEqual([]);
  });

  it("use an event for one meaning: the same event has the same message", () => {
    const messages = Object.groupBy(calls, ({ event }) => event ?? "");
    const ambiguous = Object.values(messages).filter((alike = []) => new Set(alike.map((one) => one.message)).size > 1);
    expect(ambiguous).toEqual([]);
  });
});

describe("functions of more than 60 lines", () => {
  /** The exceptions in a file, each with the number of lines of the function under it. */
  const exceptionsOf = (path: string): { at: string; reason: string; lines: number }[] => {
    const text = textOf(path);
    const found = [...text.matchAll(/^ *\/\/ biome-ignore lint\/complexity\/noExcessiveLinesPerFunction: *(.*)$/gm)];
    return found.map(({ index, 0: comment, 1: reason = "" }) => ({
      at: `${path}:${lineAt(text, index)}`,
      reason,
      lines: linesOfFunctionAt(path, index + comment.length),
    }));
  };
  const exceptions = modules.flatMap(({ path }) => exceptionsOf(path));

  it("only wire, and say so", () => {
    expect(exceptions.filter(({ reason }) => reason !== "wires only")).toEqual([]);
  });

  it("have at most 100 lines", () => {
    expect(exceptions.filter(({ lines }) => lines > 100)).toEqual([]);
  });
});

/** The number of lines of the first function that starts after an offset. */
function linesOfFunctionAt(path: string, offset: number): number {
  const text = textOf(path);
  const found: Node[] = [];
  const add = (node: Node): void => void (node.start >= offset && found.push(node));
  new Visitor({ FunctionDeclaration: add, FunctionExpression: add, ArrowFunctionExpression: add }).visit(
    parseSync(path, text).program,
  );
  const [first] = found.toSorted((one, other) => one.start - other.start);
  return first ? text.slice(first.start, first.end).split("\n").length : Number.POSITIVE_INFINITY;
}
