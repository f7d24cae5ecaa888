/** Every provider there is, each with the sandbox that stands in for it. Adding one adds a line to the literal. */
import { darajaSandbox } from "../sandbox/daraja.ts";
import { lipanaSandbox } from "../sandbox/lipana.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { Company } from "./company.ts";
import { daraja } from "./daraja.ts";
import { lipana } from "./lipana.ts";

export const companies = {
  daraja: { company: daraja, sandbox: darajaSandbox },
  lipana: { company: lipana, sandbox: lipanaSandbox },
} as const satisfies Record<string, { company: Company; sandbox: Sandbox }>;

export type ProviderName = keyof typeof companies;

export const providerNames = Object.keys(companies) as ProviderName[];
