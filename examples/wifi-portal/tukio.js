/** The client of Tukio. */
import { createTukio } from "@tukio/merchant";

const { TUKIO_URL = "http://localhost:3000", TUKIO_API_KEY = "" } = process.env;

/** The address of Tukio, for this server and for the payers' browsers. */
export const tukioUrl = TUKIO_URL;

export const tukio = createTukio({ url: tukioUrl, apiKey: TUKIO_API_KEY });
