/** The names that payers know the providers by. A provider without one is "mobile money" to them. */
export const providerNames: Readonly<Record<string, string>> = {
  daraja: "M-Pesa",
  payhero: "M-Pesa",
  lipana: "M-Pesa",
  bkash: "bKash",
  mtn: "MTN MoMo",
};
