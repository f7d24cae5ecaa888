/** The Swahili texts: not reviewed by a native speaker. Keep them in step with `words-en.ts`. */
import type { NotificationWords } from "./words.ts";

export const swahili: NotificationWords = {
  receipt: {
    title: "Risiti",
    subject: "Risiti kutoka {shop}: {amount}",
    thanks: "Asante. {shop} imepokea malipo yako.",
    total: "Jumla",
    order: "Oda",
    receipt: "Risiti ya {provider}",
    method: "Njia ya malipo",
    phone: "Nambari ya simu",
    at: "Tarehe ya malipo",
    code: "Msimbo",
    open: "Fungua risiti",
    openHint: "Unaweza kuichapisha au kuihifadhi kama PDF.",
    notTax: "Risiti hii inathibitisha malipo yako. Si ankara ya kodi.",
    why: "Umepokea barua pepe hii kwa sababu anwani hii ilitolewa wakati wa malipo.",
    print: "Chapisha",
    unknown: ["Risiti hii haipo", "Kagua anwani, au omba duka likupe risiti nyingine."],
  },
  alert: {
    kinds: {
      review: {
        one: "Oda {count} inasubiri uamuzi wako",
        many: "Oda {count} zinasubiri uamuzi wako",
        text: "Pesa zilizofika hazilingani na oda. Oda itahesabiwa kuwa haijalipwa hadi ukubali malipo.",
        advice:
          "Linganisha malipo na taarifa ya mtoa huduma. Kisha andika uamuzi wako kwa POST /v1/orders/:orderId/resolve.",
      },
      paid_twice: {
        one: "Oda {count} imelipwa zaidi ya mara moja",
        many: "Oda {count} zimelipwa zaidi ya mara moja",
        text: "Malipo mengine yamefika kwa oda ambayo ilikuwa imeshalipwa.",
        advice: "Rudisha malipo ya ziada kupitia tovuti ya mtoa huduma.",
      },
      endpoint_disabled: {
        one: "Endpoint {count} haipokei matukio tena",
        many: "Endpoint {count} hazipokei matukio tena",
        text: "Endpoint ilijibu 410, au majaribio yote ya kuifikia yameshindikana kwa siku 5. Tukio imeizima.",
        advice:
          "Rekebisha endpoint. Kisha iwashe kwa PATCH /v1/endpoints/:id; yote ambayo haikupokea yatatumwa mara moja.",
      },
      provider_failing: {
        one: "Mtoa huduma {count} ana hitilafu",
        many: "Watoa huduma {count} wana hitilafu",
        text: "Maombi mengi kwa mtoa huduma yanashindikana. Huenda wateja hawawezi kulipa kupitia kwake.",
        advice:
          "Kagua ukurasa wa hali wa mtoa huduma na vitambulisho vyako. GET /v1/providers inaonyesha maombi ya hivi karibuni.",
      },
      invariant_violated: {
        one: "Ukaguzi {count} wa data umeshindikana",
        many: "Kaguzi {count} za data zimeshindikana",
        text: "Data iliyohifadhiwa inapingana na dhamana ya Tukio, kwa hiyo malipo yanaweza kuonyesha hali isiyo sahihi.",
        advice: "Hifadhi kumbukumbu (logs) na nakala ya hifadhidata, kisha uripoti hitilafu hii.",
      },
    },
    more: "na nyingine {count}",
    mismatch: "{paid} zimefika badala ya {amount}",
    receiptReused: "risiti ni ya malipo mengine",
    currencyMismatch: "sarafu tofauti imefika",
    failedCalls: "maombi {failed} kati ya {total} yameshindikana",
    why: "Umepokea barua pepe hii kwa sababu MERCHANT_EMAIL ni anwani hii. Kila aina ya tahadhari hutumwa si zaidi ya mara moja kwa saa.",
    whyDefault:
      "MERCHANT_EMAIL haijawekwa, kwa hiyo mazingira ya majaribio yanatumia anwani hii. Kila aina ya tahadhari hutumwa si zaidi ya mara moja kwa saa.",
  },
  testMail: {
    title: "Barua pepe ya majaribio",
    text: "Tukio inaweza kutuma risiti na tahadhari za {shop} kutoka anwani hii.",
    why: "Umepokea barua pepe hii kwa sababu jaribio liliombwa kwa ufunguo wa API wa duka.",
  },
  testSubject: "[Jaribio] {subject}",
};
