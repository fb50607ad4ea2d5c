/**
 * Slewing: the clock runs a little slower or faster for a while (adjtimex(2), spec vmware.md section 10). Which rate for how
 * long is computed here, pure; `createSlewer` keeps to it.
 */
import type { SetTimer } from '../timer.ts';

/** Microseconds that the clock advances in 1/100 s: one more or less is a rate of 100 ppm. */
export interface SlewPlan {
  readonly tick: number;
  readonly durationMs: number;
}

export const nominalTick = 10_000;
/** The kernel's limits. */
const MIN_TICK = 9_000;
const MAX_TICK = 11_000;
const TICKS_PER_MS = 0.1;
/** Half a percent, which no program minds. */
const MOST_GENTLE_TICKS = 50;
const GENTLE_MS = 60_000;

/** Slews `percent` of the error away within a period, as far as the kernel can. */
export function slewPart(errorUs: number, percent: number, periodMs: number): SlewPlan {
  const partUs = (errorUs * percent) / 100;
  const tick = nominalTick - Math.trunc(partUs / (periodMs * TICKS_PER_MS));
  return { tick: Math.min(MAX_TICK, Math.max(MIN_TICK, tick)), durationMs: periodMs };
}

/** Slews the whole error away, in a minute or in as long as it takes at a rate that does no harm. @param errorUs positive */
export function slewGently(errorUs: number): SlewPlan {
  const wanted = Math.ceil(errorUs / (GENTLE_MS * TICKS_PER_MS));
  const ticks = Math.min(MOST_GENTLE_TICKS, Math.max(1, wanted));
  return { tick: nominalTick - ticks, durationMs: Math.round(errorUs / (ticks * TICKS_PER_MS)) };
}

export interface SlewClock {
  /** 0 or -errno. @throws {ActionRefused} */
  setTick(tick: number): number;
  readonly setTimer: SetTimer;
}

export interface Slewer {
  /** In the place of what it did before. 0 or -errno. @throws {ActionRefused} */
  start(plan: SlewPlan): number;
  /** The clock runs at its own rate again. Costs nothing when it does. */
  stop(): void;
  readonly isActive: boolean;
}

export function createSlewer(clock: SlewClock): Slewer {
  let cancel: (() => void) | null = null;

  function stop(): void {
    if (cancel === null) return;
    cancel();
    cancel = null;
    clock.setTick(nominalTick);
  }

  return {
    start(plan) {
      const result = clock.setTick(plan.tick);
      if (result < 0) return result;
      cancel?.();
      cancel = clock.setTimer(stop, plan.durationMs);
      return 0;
    },
    stop,
    get isActive() {
      return cancel !== null;
    },
  };
}
