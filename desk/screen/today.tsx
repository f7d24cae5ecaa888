import type { ReactNode } from "react";

export default function Today(): ReactNode {
  return <h1>Today</h1>;
}
