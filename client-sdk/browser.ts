/** The entry of the browser file `tukio.js`: registers `<order-status>` and exports everything else. */
export * from "./element.ts";
export * from "./index.ts";
