/** The merchant's name and look, from the environment. */
export interface ShopView {
  name: string;
  logoUrl?: string;
  /** `#rrggbb`. Another form is ignored. */
  colour?: string;
  /** A phone number, an email address or a URL, or any text. */
  contact?: string;
}
