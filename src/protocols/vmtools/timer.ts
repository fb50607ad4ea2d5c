/** Timers that may be virtual in tests. */

/** @returns the way to cancel it */
export type SetTimer = (callback: () => void, delayMs: number) => () => void;

/** Does not keep the process alive. */
export const setRealTimer: SetTimer = (callback, delayMs) => {
  const timer = setTimeout(callback, delayMs).unref();
  return () => clearTimeout(timer);
};
