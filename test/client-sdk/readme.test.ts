/** The programs in the SDK's README compile against the published package, as a strict TypeScript project has it. */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { blocksOf, root, textOf } from "../docs/markdown.ts";
import { packSdk, type SdkPackage } from "../support/sdk-package.ts";

const exec = promisify(execFile);

/** The file extension of each language that TypeScript reads. A `js` block is TypeScript without types. */
const extensions: Readonly<Record<string, string>> = { js: "ts", ts: "ts", jsx: "tsx", tsx: "tsx" };

const programs = blocksOf(textOf("client-sdk/README.md")).flatMap(({ language, code }) =>
  extensions[language] ? [{ extension: extensions[language], code }] : [],
);

/** The reader's own values, and the two names of React Native that are used, because its package has 100 MB. */
const surroundings = `
  declare const token: string;
  declare module "react-native" {
    export const AppState: {
      addEventListener(type: "change", listener: (state: "active" | "background" | "inactive") => void): { remove(): void };
    };
    export function Text(props: { children: import("react").ReactNode }): import("react").ReactNode;
  }
`;

const compilerOptions = {
  target: "ES2022",
  lib: ["ES2022", "DOM", "DOM.Iterable"],
  module: "ESNext",
  moduleResolution: "Bundler",
  moduleDetection: "force",
  jsx: "react-jsx",
  types: ["node"],
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  noImplicitReturns: true,
  noEmit: true,
};

describe("the README of the SDK", () => {
  let sdk: SdkPackage;
  beforeAll(async () => {
    sdk = await packSdk();
    return sdk.remove;
  });

  /** Compiles files beside the package. Returns the errors. */
  async function compile(files: Readonly<Record<string, string>>): Promise<string> {
    const folder = join(sdk.folder, "project");
    await mkdir(folder, { recursive: true });
    const include = Object.keys(files);
    for (const [name, code] of Object.entries(files)) await writeFile(join(folder, name), code);
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include }));
    const command = exec(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", folder], {
      cwd: folder,
    });
    return command.then(
      () => "",
      (error: { stdout: string }) => error.stdout,
    );
  }

  it("has programs that compile", async () => {
    expect(programs.map(({ extension }) => extension)).toEqual(["ts", "tsx", "tsx", "tsx", "tsx", "ts"]);
    const files = Object.fromEntries(programs.map(({ extension, code }, nth) => [`program-${nth}.${extension}`, code]));
    expect(await compile({ ...files, "surroundings.d.ts": surroundings })).toBe("");
  });

  it("has an element whose misspelt and mistyped attributes do not compile", async () => {
    const errors = await compile({
      "wrong.tsx": `import "@tukio/client/element";
        export const one = <order-status urls="https://pay.example.com" />;
        export const two = <order-status url={1} />;
        export const three = <order-status onstatuschange={(event: string) => event} />;
        export const right = <order-status className="card" style={{ width: 300 }} key="1" ref={(it) => void it?.snapshot} />;
        export const other = <div className="card" onClick={() => undefined} />;
      `,
    });
    expect(errors.match(/wrong\.tsx\(\d+/g)).toEqual(["wrong.tsx(2", "wrong.tsx(3", "wrong.tsx(4"]);
  });

  it("has actions that a type tells apart", async () => {
    const errors = await compile({
      "action.ts": `import type { Action } from "@tukio/client";
        export function textOf(action: Action): string {
          switch (action.type) {
            case "prompt": return action.phone;
            case "redirect": return action.url;
            default: return "";
          }
        }
        export const wrong = (action: Action) => action.phone;
      `,
    });
    expect(errors.match(/action\.ts\(\d+/g)).toEqual(["action.ts(9"]);
  });
});
