/** What a payer knows a provider by. The SDK has names of its own for its element (client-sdk/element/face.ts). */
export interface Title {
  title: string;
  /** The company that carries it, where that is another. */
  by?: string;
}

const titles: Readonly<Record<string, Title>> = {
  daraja: { title: "M-Pesa", by: "Safaricom" },
  payhero: { title: "M-Pesa", by: "PayHero" },
  lipana: { title: "M-Pesa", by: "Lipana" },
  zenopay: { title: "Mobile money", by: "ZenoPay" },
  bkash: { title: "bKash" },
  mtn: { title: "MTN MoMo" },
};

/** The provider's own name where it has no other. */
export const titleOf = (provider: string): Title => titles[provider] ?? { title: provider };
