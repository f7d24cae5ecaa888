/** The display names of the providers, as payers know them. A provider without one is shown as "mobile money". */
export const providerNames: Readonly<Record<string, string>> = {
  daraja: "M-Pesa",
  payhero: "M-Pesa",
  lipana: "M-Pesa",
  bkash: "bKash",
  mtn: "MTN MoMo",
};
