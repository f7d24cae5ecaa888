/** The texts about results, in every language of the element: not reviewed by a native speaker, except English. */

export interface ResultWords {
  heading: string;
  /** Announced to screen readers when results arrive or change. Contains `{titles}`. */
  arrived: string;
  /** The text alternative of a ticket's QR code. */
  qr: string;
  copy: string;
  copied: string;
  /** The browser does not copy, and the code is selected instead. */
  selected: string;
  /** Contains `{host}`. */
  open: string;
  /** Contains `{time}`. */
  validUntil: string;
  /** Contains `{time}`. */
  expired: string;
}

const english: ResultWords = {
  heading: "Your purchase",
  arrived: "You received: {titles}",
  qr: "QR code of this ticket’s code",
  copy: "Copy code",
  copied: "Copied",
  selected: "Selected: copy it with your device’s menu",
  open: "Open {host}",
  validUntil: "Valid until {time}",
  expired: "Expired: {time}",
};

const swahili: ResultWords = {
  heading: "Ulichonunua",
  arrived: "Umepokea: {titles}",
  qr: "Msimbo wa QR wa msimbo wa tiketi hii",
  copy: "Nakili msimbo",
  copied: "Imenakiliwa",
  selected: "Umechaguliwa: nakili kwa menyu ya kifaa chako",
  open: "Fungua {host}",
  validUntil: "Inatumika hadi {time}",
  expired: "Muda umekwisha: {time}",
};

const bangla: ResultWords = {
  heading: "আপনি যা কিনেছেন",
  arrived: "আপনি পেয়েছেন: {titles}",
  qr: "এই টিকিটের কোডের কিউআর কোড",
  copy: "কোড কপি করুন",
  copied: "কপি হয়েছে",
  selected: "নির্বাচিত: ডিভাইসের মেনু দিয়ে কপি করুন",
  open: "{host} খুলুন",
  validUntil: "মেয়াদ: {time} পর্যন্ত",
  expired: "মেয়াদ শেষ: {time}",
};

const languages: Readonly<Record<string, ResultWords>> = { en: english, sw: swahili, bn: bangla };

/** `locale`: the one that the element chose, so it begins with the two letters of a language above. */
export const resultWordsOf = (locale: string): ResultWords => languages[locale.slice(0, 2).toLowerCase()] ?? english;
