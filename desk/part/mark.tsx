/** Tukio's mark. */
import type { ReactNode } from "react";

export const Mark = (): ReactNode => (
  <svg className="mark" viewBox="0 0 64 64" aria-hidden="true">
    <rect width="64" height="64" rx="15" />
    <path d="M14 34h9l5-15 8 28 5-13h9" />
  </svg>
);
