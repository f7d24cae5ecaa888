/** The texts of the return pages. Swahili and Bangla are not reviewed by a native speaker. */
import type { PageLanguage } from "../http/accept.ts";

type Text = readonly [title: string, text: string];

export interface PageWords {
  /** What is true for an order when the page is sent, for browsers in which the element does not run. */
  order: Readonly<Record<"open" | "succeeded" | "failed" | "review", Text>>;
  /** The heading above the element, for screen readers. */
  payment: string;
  wait: Text;
  unknown: Text;
  /** The link to the shop. */
  back: string;
}

export const words: Readonly<Record<PageLanguage, PageWords>> = {
  en: {
    order: {
      open: [
        "You may close this page",
        "We are checking your payment with the payment provider. The shop receives the result automatically.",
      ],
      succeeded: ["Paid", "Your payment has arrived. The shop knows it. You may close this page."],
      failed: ["Not paid", "No payment has arrived for this order. Please go back to the shop."],
      review: ["Being checked", "The shop is checking your payment. Please do not pay again."],
    },
    wait: [
      "One moment, please",
      "We cannot look up your payment right now. Please leave this page open: it tries again automatically. You do not pay twice.",
    ],
    unknown: [
      "There is nothing here",
      "This address does not belong to a payment. Go back to the shop to see the status of your order.",
    ],
    payment: "Your payment",
    back: "Back to the shop",
  },
  sw: {
    order: {
      open: [
        "Unaweza kufunga ukurasa huu",
        "Tunakagua malipo yako kwa mtoa huduma. Duka litapata matokeo moja kwa moja.",
      ],
      succeeded: ["Imelipwa", "Malipo yako yamepokelewa. Duka linajua hilo. Unaweza kufunga ukurasa huu."],
      failed: ["Haijalipwa", "Hakuna malipo yaliyofika kwa oda hii. Tafadhali rudi dukani."],
      review: ["Yanakaguliwa", "Duka linakagua malipo yako. Tafadhali usilipe tena."],
    },
    wait: [
      "Subiri kidogo, tafadhali",
      "Hatuwezi kuona malipo yako sasa hivi. Tafadhali acha ukurasa huu wazi: unajaribu tena wenyewe. Hutalipa mara mbili.",
    ],
    unknown: ["Hakuna kitu hapa", "Anwani hii si ya malipo yoyote. Rudi dukani kuona hali ya oda yako."],
    payment: "Malipo yako",
    back: "Rudi dukani",
  },
  bn: {
    order: {
      open: ["এই পাতাটি বন্ধ করতে পারেন", "আমরা পেমেন্ট প্রতিষ্ঠানের কাছে আপনার পেমেন্ট যাচাই করছি। দোকান ফলাফল নিজে থেকেই পাবে।"],
      succeeded: ["পেমেন্ট হয়েছে", "আপনার টাকা পাওয়া গেছে। দোকান তা জানে। এই পাতাটি বন্ধ করতে পারেন।"],
      failed: ["পেমেন্ট হয়নি", "এই অর্ডারের কোনো টাকা আসেনি। দোকানে ফিরে যান।"],
      review: ["যাচাই চলছে", "দোকান আপনার পেমেন্ট যাচাই করছে। আবার টাকা দেবেন না।"],
    },
    wait: [
      "একটু অপেক্ষা করুন",
      "আপনার পেমেন্ট এখন দেখা যাচ্ছে না। পাতাটি খোলা রাখুন: এটি নিজে থেকেই আবার চেষ্টা করে। আপনাকে দুবার টাকা দিতে হবে না।",
    ],
    unknown: ["এখানে কিছু নেই", "এই ঠিকানা কোনো পেমেন্টের নয়। অর্ডারের অবস্থা দেখতে দোকানে ফিরে যান।"],
    payment: "আপনার পেমেন্ট",
    back: "দোকানে ফিরে যান",
  },
};
