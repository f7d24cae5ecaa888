/** The Swahili texts: not reviewed by a native speaker. Keep them in step with `words-en.ts`. */
import type { Words } from "./words.ts";

export const swahili: Words = {
  phrases: {
    connecting: ["Subiri kidogo", "Tunatafuta malipo yako."],
    pending: ["Tunaanzisha malipo", "Hivi punde utapata ombi la kuyaidhinisha."],
    processing: ["Tunasubiri malipo yako", "Tafadhali idhinisha kwa {provider}."],
    "processing.prompt": ["Angalia simu yako", "Weka PIN yako ya {provider} kwenye {phone}."],
    "processing.redirect": ["Malizia kwenye {provider}", "Idhinisha malipo huko. Kisha utarudi dukani."],
    overdue: ["Bado tunasubiri", "Inachukua muda kuliko kawaida. Tafadhali usilipe tena kwa sasa."],
    succeeded: ["Imelipwa", "Asante, malipo yako yamepokelewa."],
    "succeeded.late": ["Imelipwa", "Malipo yako yalichelewa, lakini yamepokelewa. Huhitaji kulipa tena."],
    "succeeded.paid_twice": [
      "Imelipwa zaidi ya mara moja",
      "Oda yako imelipwa. Malipo mengine pia yamepokelewa. Omba duka likurudishie.",
    ],
    "succeeded.amount_mismatch": [
      "Imelipwa",
      "Oda yako imelipwa. {provider} iliripoti kiasi tofauti, na duka linajua hilo.",
    ],
    failed: ["Malipo hayakufanikiwa", "Hakuna pesa iliyokatwa. Unaweza kujaribu tena."],
    "failed.cancelled": ["Malipo yameghairiwa", "Hakuna pesa iliyokatwa."],
    "failed.insufficient_funds": [
      "Salio halitoshi",
      "Hakuna pesa iliyokatwa. Ongeza pesa kwenye akaunti yako ya {provider}, kisha ujaribu tena.",
    ],
    "failed.wrong_pin": ["PIN si sahihi", "Hakuna pesa iliyokatwa. Jaribu tena kwa PIN sahihi."],
    "failed.declined": [
      "Malipo yamekataliwa",
      "Akaunti yako ya {provider} imekataa malipo haya. Hakuna pesa iliyokatwa.",
    ],
    "failed.limit": [
      "Umepita kiwango chako",
      "Hakuna pesa iliyokatwa. Kiasi hiki kinazidi kiwango cha akaunti yako ya {provider}.",
    ],
    "failed.busy": [
      "Simu yako ilikuwa na ombi lingine",
      "Hakuna pesa iliyokatwa. Malizia au ghairi ombi lingine kwenye simu yako, kisha ujaribu tena.",
    ],
    "failed.provider_error": [
      "{provider} ilipata hitilafu",
      "Hakuna pesa iliyokatwa. Jaribu tena baada ya muda mfupi.",
    ],
    "failed.rejected": [
      "Malipo hayakukubaliwa",
      "Duka limekagua malipo haya na halikuyakubali. Ikiwa pesa zilikatwa, omba duka likurudishie.",
    ],
    expired: ["Muda umekwisha", "Hakuna malipo yaliyofika. Yakifika, yataonekana hapa."],
    "expired.no_response": [
      "Simu yako haikujibu",
      "Hakuna malipo yaliyofika. Hakikisha simu yako imewashwa na ina mtandao, kisha ujaribu tena.",
    ],
    review: ["Yanakaguliwa", "Duka linakagua malipo yako. Tafadhali usilipe tena."],
    "review.amount_mismatch": ["Yanakaguliwa", "Kiasi tofauti kimefika: {paid}. Tafadhali usilipe tena."],
    unknown: ["Kuna taarifa ya malipo yako", "Tafadhali uliza duka kuhusu oda hii."],
    refused: ["Malipo hayawezi kuonyeshwa", "Ukurasa huu si halali tena. Tafadhali rudi dukani."],
  },
  offline: ["Huna mtandao", "Matokeo yataonekana hapa ukirudi mtandaoni."],
  noPrompt:
    "Hujapata ombi? Fungua simu yako na uhakikishe ina mtandao. Kwanza malizia ombi lingine lolote la {provider}.",
  mayBeLate: "Je, umeweka PIN yako? Basi subiri: malipo yako bado yanaweza kufika.",
  contact: "Una swali? Wasiliana na duka:",
  share: "Shiriki risiti",
  print: "Chapisha risiti",
  test: "Malipo ya majaribio – hakuna pesa inayohama",
  tryAgain: "Jaribu tena",
  tryFailed: "Imeshindikana. Jaribu tena baada ya muda mfupi.",
  goOn: "Endelea kwa {provider}",
  left: "zimebaki",
  waited: "Tumesubiri {time}",
  reconnecting: "Inaunganisha tena…",
  stopped: "Ukurasa huu hausasishwi tena. Tafadhali upakie upya.",
  order: "Oda",
  receipt: "Risiti",
  received: "Zilizopokelewa",
  at: "Wakati",
  provider: "pesa za simu",
};
