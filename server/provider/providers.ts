/** Every provider there is, each with the sandbox that stands in for it. Adding one adds a line to the literal. */
import { bkashSandbox } from "../sandbox/bkash.ts";
import { darajaSandbox } from "../sandbox/daraja.ts";
import { lipanaSandbox } from "../sandbox/lipana.ts";
import { mtnSandbox } from "../sandbox/mtn.ts";
import { payheroSandbox } from "../sandbox/payhero.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { zenopaySandbox } from "../sandbox/zenopay.ts";
import { bkash } from "./bkash.ts";
import type { Company } from "./company.ts";
import { daraja } from "./daraja.ts";
import { lipana } from "./lipana.ts";
import { mtn } from "./mtn.ts";
import { payhero } from "./payhero.ts";
import { zenopay } from "./zenopay.ts";

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
