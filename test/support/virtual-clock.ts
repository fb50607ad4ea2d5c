/** A clock for the license that moves only when a test says so. */
import type { LicenseClock } from '../../src/license/license-time.ts';

export interface VirtualClock extends LicenseClock {
  /** Both clocks go on; each timer that is due is called at its time, and what it started is waited for. */
  advance(durationMs: number, settled?: () => Promise<void>): Promise<void>;
  /** Somebody sets the wall clock. */
  setWall(wallMs: number): void;
  readonly timers: number;
}

export function virtualClock(startMs: number): VirtualClock {
  let wallMs = startMs;
  let monotonicMs = 0;
  const timers = new Set<{ atMs: number; callback: () => void }>();

  const step = (durationMs: number) => {
    wallMs += durationMs;
    monotonicMs += durationMs;
  };

  return {
    wallMs: () => wallMs,
    monotonicMs: () => monotonicMs,
    setTimer(callback, delayMs) {
      const timer = { atMs: monotonicMs + delayMs, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    async advance(durationMs, settled = async () => {}) {
      const endMs = monotonicMs + durationMs;
      for (;;) {
        const due = [...timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
        if (due === undefined) break;
        timers.delete(due);
        step(Math.max(0, due.atMs - monotonicMs));
        due.callback();
        await settled();
      }
      step(endMs - monotonicMs);
    },
    setWall(toMs) {
      wallMs = toMs;
    },
    get timers() {
      return timers.size;
    },
  };
}
