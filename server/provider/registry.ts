/** All providers, each with its sandbox. To add a provider, add a line to `registry` (docs/provider.md). */

import type { Sandbox } from "../sandbox/server.ts";
import { bkash } from "./bkash/adapter.ts";
import { bkashSandbox } from "./bkash/sandbox.ts";
import { daraja } from "./daraja/adapter.ts";
import { darajaSandbox } from "./daraja/sandbox.ts";
import type { ProviderDefinition } from "./define.ts";
import { lipana } from "./lipana/adapter.ts";
import { lipanaSandbox } from "./lipana/sandbox.ts";
import { mtn } from "./mtn/adapter.ts";
import { mtnSandbox } from "./mtn/sandbox.ts";
import { payhero } from "./payhero/adapter.ts";
import { payheroSandbox } from "./payhero/sandbox.ts";
import { zenopay } from "./zenopay/adapter.ts";
import { zenopaySandbox } from "./zenopay/sandbox.ts";

export const registry = {
  daraja: { definition: daraja, sandbox: darajaSandbox },
  payhero: { definition: payhero, sandbox: payheroSandbox },
  lipana: { definition: lipana, sandbox: lipanaSandbox },
  zenopay: { definition: zenopay, sandbox: zenopaySandbox },
  bkash: { definition: bkash, sandbox: bkashSandbox },
  mtn: { definition: mtn, sandbox: mtnSandbox },
} as const satisfies Record<string, { definition: ProviderDefinition; sandbox: Sandbox }>;

export type ProviderName = keyof typeof registry;

export const providerNames = Object.keys(registry) as ProviderName[];
