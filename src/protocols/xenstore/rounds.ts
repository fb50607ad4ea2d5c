/** Work that is done again whenever there may be something to do: one round at a time, and wishes that come during a round make one more. */
import type { Log } from '../../log.ts';
import { XenstoreGone } from './xenstore.ts';

export interface Rounds {
  /** Has a round begin as soon as none is under way. */
  wake(): void;
  /** Ends after the round under way, and after the one that was wished for; waits at most `limitMs` for them. Never rejects. */
  stop(limitMs: number): Promise<void>;
}

export interface RoundsOptions {
  /** For the log. */
  name: string;
  /** What it throws is logged once, and tried again after a pause; {@link XenstoreGone} waits for the next {@link Rounds.wake}. */
  round(): Promise<void>;
  log: Log;
  /** Doubled with each failure. */
  firstRetryMs?: number;
}

/** What was looked at has changed meanwhile: the next round comes at once. */
export class RoundOutdated extends Error {
  override name = 'RoundOutdated';
}

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;

export function createRounds(options: RoundsOptions): Rounds {
  const { name, round, log, firstRetryMs = FIRST_RETRY_MS } = options;
  let isWished = false;
  let isStopped = false;
  let working: Promise<void> | null = null;
  let retry: NodeJS.Timeout | undefined;
  let retryMs = firstRetryMs;
  /** Problems that are in the log already. */
  const logged = new Set<string>();

  function wake(): void {
    if (isStopped) return;
    isWished = true;
    working ??= work().finally(() => {
      working = null;
    });
  }

  async function work(): Promise<void> {
    while (isWished) {
      isWished = false;
      clearTimeout(retry);
      try {
        await round();
        retryMs = firstRetryMs;
        logged.clear();
      } catch (error) {
        if (error instanceof RoundOutdated) isWished = !isStopped;
        else if (!(error instanceof XenstoreGone)) fail(error);
      }
    }
  }

  function fail(error: unknown): void {
    const problem = error instanceof Error ? error.message : String(error);
    if (!logged.has(problem)) log.warning(`${name}: ${problem}`);
    logged.add(problem);
    if (isStopped) return;
    retry = setTimeout(wake, retryMs).unref();
    retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
  }

  return {
    wake,
    async stop(limitMs) {
      isStopped = true;
      clearTimeout(retry);
      if (working === null) return;
      const expired = Promise.withResolvers<void>();
      const timer = setTimeout(expired.resolve, limitMs);
      await Promise.race([working, expired.promise]);
      clearTimeout(timer);
      clearTimeout(retry);
    },
  };
}
