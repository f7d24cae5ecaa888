/** Every provider there is, each with the sandbox that stands in for it. Adding one adds a line to the literal. */

import type { Sandbox } from "../sandbox/server.ts";
import { bkash } from "./bkash/adapter.ts";
import { bkashSandbox } from "./bkash/sandbox.ts";
import { daraja } from "./daraja/adapter.ts";
import { darajaSandbox } from "./daraja/sandbox.ts";
import type { Company } from "./define.ts";
import { lipana } from "./lipana/adapter.ts";
import { lipanaSandbox } from "./lipana/sandbox.ts";
import { mtn } from "./mtn/adapter.ts";
import { mtnSandbox } from "./mtn/sandbox.ts";
import { payhero } from "./payhero/adapter.ts";
import { payheroSandbox } from "./payhero/sandbox.ts";
import { zenopay } from "./zenopay/adapter.ts";
import { zenopaySandbox } from "./zenopay/sandbox.ts";

export const companies = {
  daraja: { company: daraja, sandbox: darajaSandbox },
  payhero: { company: payhero, sandbox: payheroSandbox },
  lipana: { company: lipana, sandbox: lipanaSandbox },
  zenopay: { company: zenopay, sandbox: zenopaySandbox },
  bkash: { company: bkash, sandbox: bkashSandbox },
  mtn: { company: mtn, sandbox: mtnSandbox },
} as const satisfies Record<string, { company: Company; sandbox: Sandbox }>;

export type ProviderName = keyof typeof companies;

export const providerNames = Object.keys(companies) as ProviderName[];
