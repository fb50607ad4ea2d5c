/**
 * The automatic renewals: after `next-renewal-at` the account server is asked once an hour until it answers (licensing.md
 * "Life of a license"). One timer, which also records the time; none at the free level.
 */
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { RenewalAnswer } from './account-api.ts';
import { type LicenseKeeper, RECORD_INTERVAL_MS } from './keeper.ts';
import type { LicenseClock, LicenseTime } from './license-time.ts';
import { nextChangeAtMs } from './lifecycle.ts';
import { TokenRefusedError } from './token.ts';

export const ATTEMPT_INTERVAL_MS = 3_600_000;
/** A timer may come a little early by the wall clock. */
const MIN_DELAY_MS = 1000;

export interface RenewalOptions {
  readonly keeper: LicenseKeeper;
  readonly time: LicenseTime;
  readonly clock: LicenseClock;
  readonly gate: FreezeGate;
  /** Whether there is an account server. */
  readonly canAsk: () => boolean;
  /** Asks with the stored token. */
  readonly ask: (signal: AbortSignal) => Promise<RenewalAnswer>;
}

export interface Renewal {
  /** Sets the timer for what comes next; from the start on, and after every pause. */
  resume(): void;
  /** Gives up an attempt that is under way, and makes no new one. Resolves when nothing is under way. */
  pause(): Promise<void>;
  /** Resolves when no attempt is under way. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

export function createRenewal({ keeper, time, clock, gate, canAsk, ask }: RenewalOptions): Renewal {
  let stopTimer: (() => void) | null = null;
  let working: Promise<void> | null = null;
  let attempt: AbortController | null = null;
  let isPaused = true;
  let isStopped = false;

  /** When the next attempt is due, or null. */
  function attemptDueAtMs(): number | null {
    const license = keeper.license();
    if (license.state === 'free' || !canAsk()) return null;
    const { isAnswered, lastAttemptAtMs } = keeper.stored().renewal;
    if (isAnswered) return null;
    const earliestMs = lastAttemptAtMs === null ? 0 : lastAttemptAtMs + ATTEMPT_INTERVAL_MS;
    return Math.max(license.nextRenewalAtMs, earliestMs);
  }

  function schedule(): void {
    stopTimer?.();
    stopTimer = null;
    if (isPaused || isStopped || working !== null || keeper.license().state === 'free') return;
    const nowMs = time.nowMs();
    const dueMs = Math.min(
      keeper.stored().latestTimeMs + RECORD_INTERVAL_MS,
      nextChangeAtMs(keeper.token(), nowMs) ?? Number.POSITIVE_INFINITY,
      attemptDueAtMs() ?? Number.POSITIVE_INFINITY,
    );
    // an hour at most: clocks jump, and a timer of weeks would not notice
    const delayMs = Math.min(Math.max(dueMs - nowMs, MIN_DELAY_MS), ATTEMPT_INTERVAL_MS);
    stopTimer = clock.setTimer(() => {
      stopTimer = null;
      working = work().finally(() => {
        working = null;
        schedule();
      });
    }, delayMs);
  }

  async function work(): Promise<void> {
    await gate.whenThawed();
    if (isStopped) return;
    const dueMs = attemptDueAtMs();
    if (dueMs !== null && dueMs <= time.nowMs()) await tryRenewal();
    await keeper.recordTime();
  }

  async function tryRenewal(): Promise<void> {
    attempt = new AbortController();
    const { signal } = attempt;
    try {
      const answer = await ask(signal);
      if (!signal.aborted) await take(answer);
    } finally {
      attempt = null;
    }
  }

  async function take(answer: RenewalAnswer): Promise<void> {
    switch (answer.kind) {
      case 'token':
        try {
          await keeper.accept(answer.token, 'automatic');
        } catch (error) {
          const why = error instanceof Error ? error.message : String(error);
          const isRefused = error instanceof TokenRefusedError;
          await keeper.recordAttempt(
            isRefused ? `the account server's token is refused: ${why}` : why,
            false,
          );
        }
        return;
      case 'error':
        // a busy server has not decided anything
        return keeper.recordAttempt(answer.words, answer.status !== 'busy');
      case 'no-answer':
        return keeper.recordAttempt(answer.words, false);
    }
  }

  return {
    resume() {
      isPaused = false;
      schedule();
    },
    async pause() {
      isPaused = true;
      stopTimer?.();
      stopTimer = null;
      attempt?.abort();
      await working;
    },
    async settled() {
      await working;
    },
    async stop() {
      isStopped = true;
      stopTimer?.();
      stopTimer = null;
      attempt?.abort();
      // what waits for a thaw is left alone
      if (!gate.frozen) await working;
    },
  };
}
