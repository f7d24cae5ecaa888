/** Shows the HTML for a merchant's own page, with the hash of the server's current SDK file. */

const root = new URL("..", import.meta.url);

/** @param {{ code: HTMLElement, copy: HTMLButtonElement, hint: HTMLElement }} elements */
export async function showSnippet({ code, copy, hint }) {
  const response = await fetch(new URL("sdk/integrity.json", root)).catch(() => undefined);
  const answer = await response?.json().catch(() => undefined);
  if (!response?.ok) {
    hint.textContent = answer?.detail ?? "This server has no SDK file.";
    return;
  }
  const address = root.href.replace(/\/$/, "");
  const lines = [
    "<script",
    '  type="module"',
    `  src="${address}/sdk/tukio.js"`,
    `  integrity="${answer["tukio.js"]}"`,
    '  crossorigin="anonymous"',
    "></script>",
    "<order-status",
    `  url="${address}"`,
    '  order-id="ORD-1001"',
    '  token="WATCH_TOKEN"',
    "></order-status>",
  ];
  code.textContent = lines.join("\n");
  copy.addEventListener("click", async () => {
    // The clipboard exists only in a secure context. Selecting the text works everywhere.
    const isCopied = await navigator.clipboard?.writeText(code.textContent ?? "").then(
      () => true,
      () => false,
    );
    if (!isCopied) getSelection()?.selectAllChildren(code);
    copy.textContent = isCopied ? "Copied" : "Selected";
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 2000);
  });
}
