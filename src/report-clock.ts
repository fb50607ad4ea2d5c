/** The agent's one 30 s clock, by which guest info is reported and limits are swept (chr-wiki.txt, "Guest info"). Like `log.ts` it is for all floors. */

export interface ReportClock {
  /** Calls back every 30 s, from 30 s after the first listener came on. @returns the way to stop that */
  onTick(listener: () => void): () => void;
}

export const REPORT_INTERVAL_MS = 30_000;

/** One timer for all listeners, and none while there is no listener; it does not keep the process alive. */
export function createReportClock(intervalMs = REPORT_INTERVAL_MS): ReportClock {
  const listeners = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;

  return {
    onTick(listener) {
      // a wrapper of its own for each call: the same function may listen twice
      const own = () => listener();
      listeners.add(own);
      timer ??= setInterval(() => {
        for (const each of [...listeners]) each();
      }, intervalMs).unref();
      return () => {
        listeners.delete(own);
        if (listeners.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
    },
  };
}
