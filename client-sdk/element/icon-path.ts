/** The icons, as strokes in a 24 × 24 square, so that they take colour and size from their context. Uses no DOM. */
import type { Icon } from "./presentation.ts";

const paths: Record<Icon, string> = {
  phone: "M8 2h8q1.5 0 1.5 1.5v17q0 1.5-1.5 1.5H8q-1.5 0-1.5-1.5v-17Q6.5 2 8 2zM11 18.5h2",
  check: "M5 13l5 5 9-10",
  cross: "M7 7l10 10M17 7L7 17",
  clock: "M12 3a9 9 0 1 0 .01 0M12 7v5l3 2",
  info: "M12 11v6M12 7v.01",
  eye: "M11 4a7 7 0 1 0 .01 0M16 16l5 5",
};

export const iconPath = (icon: Icon): string => paths[icon];
