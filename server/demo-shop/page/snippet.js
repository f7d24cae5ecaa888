/** What a merchant puts on a page of their own, with the hash of the file as it is here now. */

const root = new URL("..", import.meta.url);

/** @param {{ code: HTMLElement, copy: HTMLButtonElement, hint: HTMLElement }} elements */
export async function showSnippet({ code, copy, hint }) {
  const response = await fetch(new URL("sdk/integrity.json", root)).catch(() => undefined);
  const answer = await response?.json().catch(() => undefined);
  if (!response?.ok) {
    hint.textContent = answer?.detail ?? "The SDK is not here.";
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
    // Only in a secure context is there a clipboard; the text can be selected anywhere.
    const isCopied = await navigator.clipboard?.writeText(code.textContent ?? "").then(
      () => true,
      () => false,
    );
    if (!isCopied) getSelection()?.selectAllChildren(code);
    copy.textContent = isCopied ? "Copied" : "Selected";
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 2_000);
  });
}
