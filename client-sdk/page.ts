/** Detects that the payer returned to the page. The page and its link may have slept while the payer used another app. */
import { type Events, platform } from "./platform.ts";

/**
 * Calls `callback` when the page becomes visible, is restored from the back-forward cache or is online again. Returns a
 * function that stops this.
 */
export function onReturn(callback: () => void): () => void {
  const { document } = platform;
  const listening: [Partial<Events> | undefined, string, (event: { persisted?: boolean }) => void][] = [
    [document, "visibilitychange", () => document?.visibilityState !== "hidden" && callback()],
    [platform, "pageshow", ({ persisted }) => persisted && callback()],
    [platform, "online", callback],
  ];
  for (const [target, type, listener] of listening) target?.addEventListener?.(type, listener);
  return () => {
    for (const [target, type, listener] of listening) target?.removeEventListener?.(type, listener);
  };
}
