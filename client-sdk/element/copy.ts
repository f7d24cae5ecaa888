/** Copies a text to the clipboard, also in browsers and on pages without the Clipboard API. */

/**
 * Must be called by the handler of a click, because browsers copy only then. Resolves with false if the browser refuses. `beside`:
 * where a field may stand for a moment.
 */
export async function copyText(text: string, beside: Element): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Missing on a page without https, and forbidden in some frames.
    return copyFromField(text, beside);
  }
}

/** Inside the element, because a modal dialog makes everything outside it inert. */
function copyFromField(text: string, beside: Element): boolean {
  const { activeElement } = beside.getRootNode() as ShadowRoot;
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  field.className = "unseen";
  beside.append(field);
  field.focus({ preventScroll: true });
  field.setSelectionRange(0, text.length);
  const isCopied = document.execCommand("copy");
  field.remove();
  (activeElement as HTMLElement | null)?.focus({ preventScroll: true });
  return isCopied;
}
