/** The providers as the merchant knows them: three of them pass on M-Pesa. */
const names: Readonly<Record<string, string>> = {
  daraja: "M-Pesa (Daraja)",
  payhero: "PayHero",
  lipana: "Lipana",
  zenopay: "ZenoPay",
  bkash: "bKash",
  mtn: "MTN MoMo",
};

/** A provider that this page does not know keeps its name. */
export const providerName = (provider: string): string => names[provider] ?? provider;

export const providers: readonly string[] = Object.keys(names);
