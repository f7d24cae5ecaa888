/** The places in the navigation, in its order. */
import type { LinkProps } from "@tanstack/react-router";
import type { IconName } from "./part/icon.tsx";

export interface Place {
  to: NonNullable<LinkProps["to"]>;
  title: string;
  icon: IconName;
  /** Has room at the bottom of a phone. */
  isDaily?: true;
  /** Shows how many things need a person. */
  hasCount?: true;
}

export const places: readonly Place[] = [
  { to: "/", title: "Today", icon: "today", isDaily: true },
  { to: "/needs-you", title: "Needs you", icon: "attention", isDaily: true, hasCount: true },
  { to: "/orders", title: "Orders", icon: "orders", isDaily: true },
];
