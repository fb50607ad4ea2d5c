/**
 * The license's time: never earlier than what was known before, so that setting the clock back gains nothing (licensing.md
 * "State machine"). While the daemon runs it also goes on by the monotonic clock: else a clock that is set back would make it
 * stand still.
 */

/** What the license sees of clocks; tests have virtual ones. */
export interface LicenseClock {
  /** Milliseconds since 1970; may jump. */
  wallMs(): number;
  /** Milliseconds from some moment on; never goes back. */
  monotonicMs(): number;
  /** Calls back once, without keeping the process alive. @returns the way to stop that */
  setTimer(callback: () => void, delayMs: number): () => void;
}

export const SYSTEM_CLOCK: LicenseClock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(callback, delayMs) {
    const timer = setTimeout(callback, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

export interface LicenseTime {
  /** Milliseconds since 1970, an integer. */
  nowMs(): number;
  /** From now on it is at least this. */
  atLeast(timeMs: number): void;
}

export function createLicenseTime(clock: LicenseClock): LicenseTime {
  let latestMs = 0;
  let monotonicMs = clock.monotonicMs();

  function nowMs(): number {
    const before = monotonicMs;
    monotonicMs = clock.monotonicMs();
    latestMs = Math.max(latestMs + (monotonicMs - before), clock.wallMs());
    return Math.floor(latestMs);
  }

  return {
    nowMs,
    atLeast(timeMs) {
      latestMs = Math.max(nowMs(), timeMs);
    },
  };
}
