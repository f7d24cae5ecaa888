/**
 * Makes a call that hears of it when it has taken so long, or when `outer` aborts. Nothing stays behind when it has ended:
 * of `AbortSignal.timeout` a timer would go off later, and `AbortSignal.any` leaves some 400 bytes at a long-lived signal.
 */
export async function within<T>(
  ms: number,
  call: (signal: AbortSignal) => Promise<T>,
  outer?: AbortSignal,
): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException("It took too long", "TimeoutError")), ms);
  const follow = (): void => controller.abort(outer?.reason);
  outer?.addEventListener("abort", follow);
  if (outer?.aborted) follow();
  try {
    return await call(controller.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", follow);
  }
}
