/** The entry of the browser file `tukio.js`. It registers `<order-status>` and exports the rest of the SDK. */
export * from "./element.ts";
export * from "./index.ts";
