/** What a node's doctor finds. */
import { expect } from "vitest";
import { asMerchant, type TestNode } from "./node.ts";

export interface Finding {
  id: string;
  name: string;
  status: "ok" | "warning" | "error";
  message: string;
  action?: string;
}

export interface Report {
  status: Finding["status"];
  checkedAt: string;
  node: string;
  data: Finding[];
}

export async function examine(node: Pick<TestNode, "url">): Promise<Report> {
  const { status, body } = await asMerchant(node, "/v1/doctor");
  expect(status).toBe(200);
  return body as unknown as Report;
}

/** The finding with this id. */
export function findingOf({ data }: Pick<Report, "data">, id: string): Finding {
  const found = data.find((one) => one.id === id);
  if (!found) throw new Error(`no check ${id} among ${data.map((one) => one.id).join(", ")}`);
  return found;
}
