/** The digits of Arabic, Persian and Urdu, Devanagari, Bangla and full-width text, each from 0 to 9. */
const others = "٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹०१२३४५६७८९০১২৩৪৫৬৭৮৯０１２３４５６７８９";

/** The digits of a text, in ASCII. Reads the same digits as the node. @param {string} text */
export const digitsOf = (text) =>
  Array.from(text, (sign) => (/[0-9]/.test(sign) ? sign : others.includes(sign) ? others.indexOf(sign) % 10 : "")).join(
    "",
  );
