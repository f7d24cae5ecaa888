/** Reads what the pages for payers show of the shop: `SHOP_NAME`, `SHOP_LOGO_URL`, `SHOP_COLOUR` and `SHOP_CONTACT`. */
import { z } from "zod";
import { text } from "../validation.ts";
import { optional } from "./providers.ts";

export interface ShopBrand {
  /** Absent: the host of the public URL. */
  readonly name?: string;
  readonly logoUrl?: string;
  /** `#rrggbb`. */
  readonly colour?: string;
  /** A phone number, an email address, a URL or any text. */
  readonly contact?: string;
}

const line = (lengthMax: number) =>
  text(lengthMax)
    .regex(/^\P{Cc}*$/u, "must be one line")
    .transform((value) => value.trim());

export const shopVariables = {
  SHOP_NAME: optional(line(60)),
  SHOP_LOGO_URL: optional(
    z
      .url({ protocol: /^https?$/, error: "must be an https URL", abort: true })
      .max(2_048)
      .refine(
        (url) => new URL(url).username === "" && new URL(url).password === "",
        "must have no user and no password",
      ),
  ),
  SHOP_COLOUR: optional(z.string().regex(/^#[0-9a-f]{6}$/i, "must be a colour such as #0a6b4f")),
  SHOP_CONTACT: optional(line(120)),
};

type ShopVariables = { [Name in keyof typeof shopVariables]?: string | undefined };

export const brandOf = ({ SHOP_NAME, SHOP_LOGO_URL, SHOP_COLOUR, SHOP_CONTACT }: ShopVariables): ShopBrand => ({
  ...(SHOP_NAME && { name: SHOP_NAME }),
  ...(SHOP_LOGO_URL && { logoUrl: SHOP_LOGO_URL }),
  ...(SHOP_COLOUR && { colour: SHOP_COLOUR }),
  ...(SHOP_CONTACT && { contact: SHOP_CONTACT }),
});
