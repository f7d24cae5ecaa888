/** Which code may import which. Types count: a module that cannot be understood without another depends on it. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative, sep } from "node:path";
import { parseSync, Visitor } from "rolldown/utils";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "..");

/** A module, by its path from the root, and what it imports: paths from the root, or names of packages. */
interface Module {
  path: string;
  imports: string[];
}

const modules: Module[] = ["server", "client-sdk"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
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

/** Every import of the modules that `from` names, of what `to` names. */
function importsFrom(from: RegExp, to: RegExp): string[] {
  return modules
    .filter(({ path }) => from.test(path))
    .flatMap(({ path, imports }) => imports.filter((one) => to.test(one)).map((one) => `${path} → ${one}`));
}

/** From top to bottom: each imports those below it, and none above it or beside it. */
const layers = [
  ["main.ts"],
  ["app.ts"],
  ["api-docs", "metrics"],
  ["route", "transport", "demo-shop"],
  ["webhook"],
  ["payment"],
  ["config"],
  ["provider"],
  ["redis"],
  ["status"],
  ["sandbox"],
  ["schema"],
  ["http"],
  ["auth"],
  ["order"],
  ["database"],
  ["rate-limit.ts", "validation.ts", "log.ts", "shutdown.ts"],
  ["errors.ts", "json.ts", "loop.ts", "trace.ts"],
];

const roomOf = (path: string): string | undefined => /^server\/([^/]+)/.exec(path)?.[1];

const layerOf = (room: string): number => layers.findIndex((layer) => layer.includes(room));

it("the server's folders and loose modules all have a layer", () => {
  const rooms = new Set(modules.flatMap(({ path }) => roomOf(path) ?? []));
  expect([...rooms].toSorted()).toEqual(layers.flat().toSorted());
});

it("imports point down the layers only", () => {
  const upward = modules.flatMap(({ path, imports }) =>
    imports.filter((one) => {
      const [from, to] = [roomOf(path), roomOf(one)];
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
    /^server\/(?!database\/|order\/|provider\/access-token\.ts)/,
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
    "the SDK's transports know nothing of what uses them",
    /^client-sdk\/transport\//,
    /^client-sdk\/(watch|link|element|react)\.ts/,
  ],
  ["the SDK imports nothing of the server", /^client-sdk\//, /^(server|test)\//],
  ["the SDK's protocol imports nothing", /^client-sdk\/protocol\.ts/, /./],
  [
    "the server uses the SDK's facts and its built files, not its code",
    /^server\//,
    /^client-sdk\/(?!protocol\.ts|close-code\.ts|provider-name\.ts|build\/served\.ts)/,
  ],
])("%s", (_sentence, from, to) => {
  expect(importsFrom(from, to)).toEqual([]);
});

it("providers share code through provider/ and never import each other", () => {
  const foreign = modules.flatMap(({ path, imports }) => {
    const own = /^server\/provider\/[^/]+\//.exec(path)?.[0];
    return imports.filter((one) => own && /^server\/provider\/[^/]+\//.test(one) && !one.startsWith(own));
  });
  expect(foreign).toEqual([]);
});
