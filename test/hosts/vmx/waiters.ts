/** Waits for an event that has happened or is still to come, with a time limit. */

export interface Waiters<T> {
  tell(event: T): void;
  wait(past: readonly T[], matches: (event: T) => boolean, what: string, timeoutMs?: number): Promise<T>;
}

const DEFAULT_TIMEOUT_MS = 15_000;

export function waiters<T>(): Waiters<T> {
  const waiting = new Set<(event: T) => void>();
  return {
    tell(event) {
      for (const listener of [...waiting]) listener(event);
    },
    wait(past, matches, what, timeoutMs = DEFAULT_TIMEOUT_MS) {
      const found = past.find(matches);
      if (found !== undefined) return Promise.resolve(found);
      return new Promise<T>((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(listener);
          reject(new Error(`${what}: not seen within ${timeoutMs} ms`));
        }, timeoutMs);
        const listener = (event: T): void => {
          if (!matches(event)) return;
          clearTimeout(timer);
          waiting.delete(listener);
          resolve(event);
        };
        waiting.add(listener);
      });
    },
  };
}
