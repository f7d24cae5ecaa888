/** When the person is back: the payer was in the phone's money app while this page slept, and its link with it. */
import { type Events, platform } from "./platform.ts";

/** Calls back when the page becomes visible, returns from the back-forward cache or is online again. Returns the way to stop. */
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
