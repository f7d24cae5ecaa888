/** Forgets the key that was used least recently when there are more keys than this. */
const keysMax = 10_000;

/**
 * Counts calls per key and minute, on this node. The result returns false when the key's budget for the minute is used up.
 * `nowMs` is any clock that only moves forward.
 */
export function createMinuteBudget(
  perMinuteMax: number,
  nowMs: () => number = () => performance.now(),
): (key: string) => boolean {
  const windows = new Map<string, { sinceMs: number; count: number }>();
  return (key) => {
    const known = windows.get(key);
    const window = known && nowMs() - known.sinceMs < 60_000 ? known : { sinceMs: nowMs(), count: 0 };
    // A map keeps the order of insertion, so this moves the key to the end.
    windows.delete(key);
    windows.set(key, window);
    const [oldest] = windows.keys();
    if (oldest !== undefined && windows.size > keysMax) windows.delete(oldest);
    window.count += 1;
    return window.count <= perMinuteMax;
  };
}
