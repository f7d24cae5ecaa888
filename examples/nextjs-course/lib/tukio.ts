/** The shop's client of Tukio. */
import { createTukio, type Tukio } from "@tukio/merchant";

/** The address of Tukio, for the shop and for the payers' browsers. */
export const tukioUrl = process.env.TUKIO_URL ?? "http://localhost:3000";

let client: Tukio | undefined;

/** Created with the first request, because the build loads this module too, and has no API key. */
export function tukio(): Tukio {
  client ??= createTukio({ url: tukioUrl, apiKey: process.env.TUKIO_API_KEY ?? "" });
  return client;
}
