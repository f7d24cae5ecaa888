/** The documentation and the code agree: tables, links, and the files, commands and metrics that a page names. */
import { readdirSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";
import { closeCode } from "../../client-sdk/close-code.ts";
import { reasons, statuses } from "../../client-sdk/protocol.ts";
import { errorTable } from "../../server/errors.ts";
import { registry } from "../../server/provider/registry.ts";
import {
  anchorsOf,
  commandsNamedIn,
  documents,
  exists,
  filesBelow,
  filesNamedIn,
  linksOf,
  root,
  textOf,
} from "./markdown.ts";

describe("docs/api.md", () => {
  const text = textOf("docs/api.md");

  it("lists the error codes of the source with their statuses and titles, all of them and no others", () => {
    const listed = [...text.matchAll(/^\| `([a-z_]+)` \| (\d{3}) \| (.*) \|$/gm)].map(([, code, status, title]) => [
      code,
      Number(status),
      title,
    ]);
    expect(listed).toEqual(Object.entries(errorTable).map(([code, { status, title }]) => [code, status, title]));
  });

  it("explains every status in the order of the climb, and every reason", () => {
    const rows = [...text.matchAll(/^\| `([a-z]+)` \|/gm)].map(([, name = ""]) => name);
    expect(rows.filter((name) => (statuses as readonly string[]).includes(name))).toEqual(statuses);
    expect(reasons.filter((reason) => !text.includes(`\`${reason}\``))).toEqual([]);
  });
});

describe("docs/architecture.md", () => {
  it("lists the layers that the architecture test enforces, from top to bottom", () => {
    const section = textOf("docs/architecture.md").split("## Layout")[1]?.split("Beside the layers:")[0] ?? "";
    const listed = [...section.matchAll(/^\| (`[^|]+`) \|/gm)].map(([, layer = ""]) => layer.replaceAll("`", ""));
    const source = textOf("test/architecture.test.ts").split("const layers = [")[1]?.split("];")[0] ?? "";
    const enforced = [...source.matchAll(/\[([^\]]+)\]/g)].map(([, layer = ""]) =>
      [...layer.matchAll(/"([^"]+)"/g)].map(([, part]) => part).join(", "),
    );
    expect(listed).toEqual(enforced);
  });
});

describe("docs/watching.md", () => {
  it("lists every close code", () => {
    const listed = [...textOf("docs/watching.md").matchAll(/^\| (\d{4}) \|/gm)].map(([, code]) => Number(code));
    expect(listed).toEqual(Object.values(closeCode).toSorted());
  });
});

describe("docs/configuration.md", () => {
  const text = textOf("docs/configuration.md");

  it("explains every variable that .env.example shows", () => {
    const shown = [...textOf(".env.example").matchAll(/^# ([A-Z_]+)=/gm)].map(([, name = ""]) => name);
    expect(shown.filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });

  it("explains every variable that the code reads", () => {
    const source = textOf("server/config/config.ts") + textOf("server/config/sms.ts");
    const own = [...source.matchAll(/^ {2,4}([A-Z][A-Z_]+): /gm)].map(([, name = ""]) => name);
    const ofProviders = Object.values(registry).flatMap(({ definition: { name, variables } }) =>
      [...variables, "BASE_URL", "DEADLINE_S", "QUERIES_PER_MINUTE"].map(
        (variable) => `${name.toUpperCase()}_${variable}`,
      ),
    );
    expect(own).toContain("LIMIT_CONNECTIONS");
    expect([...own, ...ofProviders].filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});

describe("docs/operating.md", () => {
  it("names existing log events", () => {
    const source = filesBelow("server", /\.ts$/).map(textOf).join();
    const table = textOf("docs/operating.md").split("| event | logged when |")[1]?.split("\n\n")[0] ?? "";
    const events = [...table.matchAll(/`([a-z_]+(?:\.[a-z_]+)+)`/g)].map(([, event = ""]) => event);
    expect(events.length).toBeGreaterThan(10);
    expect(events.filter((event) => !source.includes(`event: "${event}"`))).toEqual([]);
  });
});

describe("docs/sandbox.md", () => {
  it("lists every test number", () => {
    const numbers = (text: string, pattern: RegExp): (string | undefined)[] =>
      [...text.matchAll(pattern)].map(([, number]) => number);
    expect(numbers(textOf("docs/sandbox.md"), /^\| (\d\d)\b/gm)).toEqual(
      numbers(textOf("server/sandbox/phone.ts") + textOf("server/sandbox/sms.ts"), /^ {2}\["(\d\d)", /gm),
    );
  });
});

describe("docs/providers.md", () => {
  it("lists every provider with its deadline", () => {
    const rows = [...textOf("docs/providers.md").matchAll(/^\| `(\w+)` \|.*\| ([\d,]+) s \|$/gm)];
    expect(rows.map(([, name, s = ""]) => [name, Number(s.replace(",", ""))])).toEqual(
      Object.entries(registry).map(([name, { definition }]) => [name, definition.deadlineS]),
    );
  });
});

/** Names of metrics in the source. */
const metrics = readdirSync(join(root, "server/metrics")).flatMap(
  (file) => textOf(`server/metrics/${file}`).match(/\btukio_\w+/g) ?? [],
);

/** Suffixes that Prometheus adds to the name of a histogram. */
const metricOf = (name: string): string => name.replace(/_(count|sum|bucket)$/, "");

describe.each(documents)("%s", (document) => {
  const text = textOf(document);

  it("links to existing files and headings", () => {
    const broken = linksOf(text).filter(({ path, anchor }) => {
      const target = path === "" ? document : normalize(join(dirname(document), path));
      return !exists(target) || (anchor !== "" && !anchorsOf(textOf(target)).includes(anchor));
    });
    expect(broken).toEqual([]);
  });

  it("names existing files", () => {
    // The provider of docs/provider.md is invented.
    expect(filesNamedIn(text).filter((file) => !exists(file) && !file.includes("kasha"))).toEqual([]);
  });

  it("names existing commands", () => {
    const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Record<string, string> };
    const broken = commandsNamedIn(text).filter((command) => {
      const [program, name = "", ...more] = command.split(" ");
      if (program === "npm") return name === "run" ? scripts[more[0] ?? ""] === undefined : scripts[name] === undefined;
      const files = [name, ...more].filter(
        (word) => /^(test|bench|server|docs)[/]/.test(word) && !word.includes("kasha"),
      );
      return files.some((file) => !exists(file) && !file.startsWith("bench/out/"));
    });
    expect(broken).toEqual([]);
  });

  it("names existing metrics", () => {
    // The changelog names earlier ones too.
    // Secrets and cookies have such names too.
    const named = document === "CHANGELOG.md" ? [] : (text.match(/\btukio_(?!key_|session_|desk\b)[a-z_]+/g) ?? []);
    expect(named.filter((name) => !metrics.includes(name) && !metrics.includes(metricOf(name)))).toEqual([]);
  });
});
