/** The Swahili texts: not reviewed by a native speaker. Keep them in step with `words-en.ts`. */
import type { PlanWords } from "./words.ts";

export const swahili: PlanWords = {
  due: "Tarehe ya kulipa: {date}",
  dueToday: "Siku ya kulipa ni leo",
  overdue: "Imechelewa",
  paidOn: "Imelipwa {date}",
  cancelled: "Imeghairiwa",
  completed: ["Yote yamelipwa", "Asante. Hakuna kilichobaki kulipwa."],
  ended: ["Mpango umeghairiwa", "Duka limeghairi mpango huu. Huhitaji kulipa zaidi."],
  paused: ["Mpango umesimamishwa", "Duka limesimamisha mpango huu kwa muda. Unaweza kulipa sasa, lakini si lazima."],
  overdueOne: ["Malipo yamechelewa", "Tarehe ya kulipa ilikuwa {date}. Tafadhali lipa sasa."],
  overdueMany: ["Malipo yamechelewa", "Malipo {count} yamechelewa, jumla {amount}. Anza kulipa ya zamani zaidi."],
  inProgress: ["Malipo yanaendelea", "Awamu hii inalipwa sasa. Tafadhali usilipe tena. Matokeo yataonekana hapa."],
  review: ["Yanakaguliwa", "Duka linakagua malipo. Tafadhali usilipe tena."],
  see: "Onyesha malipo",
  progress: "{paid} kati ya {total} zimelipwa",
  progressWithoutTotal: "{paid} zimelipwa",
  left: "Zimebaki {amount}",
  payments: "Malipo",
  earlier: "Malipo ya awali ({count})",
  later: "Malipo ya baadaye ({count})",
  unknown: ["Mpango huu haupo", "Kagua anwani, au omba duka likupe kiungo kipya."],
};
