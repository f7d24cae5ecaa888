/** Icons of the desk: strokes on a 24 × 24 grid. They repeat a text beside them, so assistive technology skips them. */
import type { ReactNode } from "react";

const paths = {
  today: "M4 20V10M10 20V4M16 20v-7M21 20H3",
  orders: "M5 4h14v17l-3.5-2-3.5 2-3.5-2L5 21zM9 9h6M9 13h6",
  attention: "M12 3 2.5 20h19zM12 10v4M12 17.2v.3",
  links: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1-1",
  plans: "M4 6h16v14H4zM4 10h16M8 3v4M16 3v4",
  endpoints: "M4 12h4l3-7 4 14 2-7h3",
  providers: "M12 3v18M5 8l7-5 7 5M5 16l7 5 7-5",
  keys: "M14.5 9.5a4.5 4.5 0 1 1-4-4.5 4.5 4.5 0 0 1 4 4.5ZM13 12l7 7M17 16l2-2",
  more: "M4 7h16M4 12h16M4 17h16",
  signOut: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  check: "M5 12.5 10 17 19 7",
  cross: "M6 6l12 12M18 6 6 18",
  clock: "M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z",
  back: "M14 6l-6 6 6 6",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  refresh: "M20 11a8 8 0 1 0-.6 4M20 5v6h-6",
  phone: "M8 3h8v18H8zM11 18h2",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM15.5 15.5 20 20",
} as const;

export type IconName = keyof typeof paths;

export const Icon = ({ name }: { name: IconName }): ReactNode => (
  <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={paths[name]} />
  </svg>
);
