/** The sign of a state: its icon on a disc, in the proportions of `<order-status>`. */
import { iconPath } from "../../client-sdk/element/icon-path.ts";
import type { Icon } from "../../client-sdk/element/presentation.ts";
import { type Html, html } from "./html.ts";

export const sign = (icon: Icon): Html =>
  html`<svg class="sign" viewBox="-9.5 -9.5 43 43" aria-hidden="true" focusable="false"><circle cx="12" cy="12" r="21.5"/><path d="${iconPath(icon)}"/></svg>`;
