import { describe, expect, it } from "vitest";
import { orderIdText } from "../server/order-id.ts";

const problemOf = (orderId: string): string | undefined => orderIdText.safeParse(orderId).error?.issues[0]?.message;

describe("orderId", () => {
  it.each([
    ["#1234", 'must not contain "#"; use for example 1234'],
    ["2024/001", 'must not contain "/"; use for example 2024-001'],
    ["gid://shopify/Order/1234", 'must not contain "/"; use for example gid-shopify-Order-1234'],
    ["Order 12", "must not contain a space; use for example Order-12"],
    [" A1", "must not contain a space; use for example A1"],
    ["A1\u200b", "must not contain the character U+200B; use for example A1"],
    ["A1\n", "must not contain the character U+000A; use for example A1"],
    ["Nº 7", 'must not contain "º"; use for example N-7'],
    ["🛒7", 'must not contain "🛒"; use for example 7'],
    ["-7", 'must begin with a letter or a digit, not with "-"; use for example 7'],
    ["#", 'must not contain "#"'],
    ["অর্ডার", 'must not contain "অ"'],
    ["", "must not be empty"],
    ["x".repeat(65), "must have at most 64 characters"],
    [`#${"x".repeat(65)}`, 'must not contain "#"'],
  ])("%j is refused with a sentence that helps", (orderId, problem) => {
    expect(problemOf(orderId)).toBe(problem);
  });

  it.each(["A", "1234", "ORD-1001", "a.b_c:d-e", "x".repeat(64)])("%s is accepted", (orderId) => {
    expect(problemOf(orderId)).toBeUndefined();
  });
});
