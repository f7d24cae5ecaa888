/** Reads the HTML of mails: what it shows, and what mail programs would not show as it is meant. */

const unescaped = (text: string): string =>
  text.replace(/&#(\d+);/g, (_whole, code: string) => String.fromCharCode(Number(code))).replaceAll("&nbsp;", "\u00a0");

/** The texts between the tags of the body, each with single spaces. */
export function textNodes(html: string): string[] {
  const [, body = ""] = /<body[^>]*>(.*)<\/body>/s.exec(html) ?? [];
  return body
    .replace(/<!--.*?-->/gs, "")
    .split(/<[^>]*>/)
    .map((part) =>
      unescaped(part)
        .replace(/[ \t\r\n]+/g, " ")
        .replaceAll("\u00a0", " ")
        .trim(),
    )
    .filter((part) => part !== "");
}

/** Outlook for Windows renders with Word. Gmail removes files, forms, scripts, and what is not in its list. */
const rules: [name: string, fault: RegExp][] = [
  ["flex or grid", /display:\s*(inline-)?(flex|grid)/i],
  ["position or float", /[";\s](position|float):/i],
  ["a file of styles or fonts", /<link\b|@import|@font-face|url\(/i],
  ["a script or form", /<(script|form|input|button|iframe|object|embed|video|svg)\b/i],
  ["an event", /\son\w+\s*=/i],
  ["a variable or a function of CSS", /var\(|calc\(|clamp\(/i],
  ["relative sizes", /:\s*[\d.]+(rem|em|vw|vh)\b/i],
  ["a layout table that is announced", /<table(?![^>]*role="presentation")/i],
  ["an image without height and text", /<img(?![^>]*\balt=)|<img(?![^>]*\bheight="\d+")/i],
  ["a relative address", /(href|src)="(?!https?:|mailto:|tel:)/i],
  ["an unclosed comment for Outlook", /<!--\[if mso\]>(?!.*?<!\[endif\]-->)/is],
  ["a text without its own font", /<(td|p|h1|h2)(?![^>]*font-(family|size))[^>]*>\s*[^<\s]/i],
];

/** The names of the rules that the HTML breaks. */
export const outlookFaults = (html: string): string[] =>
  rules.filter(([, fault]) => fault.test(html)).map(([name]) => name);
