/** When to look again and how often to repair: bursts of events become one pass, and a fight with another program is paced. */

export interface Pacer {
  /** Soon: at once if the last run is long enough ago. */
  request(): void;
  /** Not before that time has passed. */
  requestIn(delayMs: number): void;
  close(): void;
}

/** Runs `work` on the leading edge of a burst of requests, and then at most once in `spacingMs`. */
export function createPacer(spacingMs: number, work: () => void): Pacer {
  let lastRunMs = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let dueMs = Number.POSITIVE_INFINITY;
  let isOpen = true;

  function runAt(atMs: number): void {
    if (!isOpen || atMs >= dueMs) return;
    clearTimeout(timer);
    dueMs = atMs;
    timer = setTimeout(run, Math.max(0, atMs - performance.now())).unref();
  }

  function run(): void {
    dueMs = Number.POSITIVE_INFINITY;
    lastRunMs = performance.now();
    work();
  }

  return {
    request: () => runAt(Math.max(performance.now(), lastRunMs + spacingMs)),
    requestIn: (delayMs) => runAt(performance.now() + delayMs),
    close() {
      isOpen = false;
      clearTimeout(timer);
    },
  };
}

export type RepairPermission =
  | { readonly kind: 'now' }
  /** `isFirst`: the fight has just been noticed. */
  | { readonly kind: 'later'; readonly delayMs: number; readonly isFirst: boolean };

export interface RepairBudget {
  ask(key: string): RepairPermission;
  /** Forgets those that are not among the keys. */
  keep(keys: ReadonlySet<string>): void;
}

/** So many repairs of one interface in {@link WINDOW_MS} are no fight. */
const FREE_REPAIRS = 10;
const WINDOW_MS = 10_000;
const MAX_DELAY_MS = 30_000;

/** Another program that puts its own qdisc back each time is answered ten times at once, then ever more slowly. */
export function createRepairBudget(now: () => number = () => performance.now()): RepairBudget {
  const entries = new Map<string, { repairsMs: number[]; delayMs: number; notBeforeMs: number }>();

  return {
    ask(key) {
      const entry = entries.get(key) ?? { repairsMs: [], delayMs: 0, notBeforeMs: 0 };
      entries.set(key, entry);
      const nowMs = now();
      if (nowMs < entry.notBeforeMs)
        return { kind: 'later', delayMs: entry.notBeforeMs - nowMs, isFirst: false };
      entry.repairsMs = entry.repairsMs.filter((atMs) => nowMs - atMs < WINDOW_MS + entry.delayMs);
      if (entry.repairsMs.length === 0) entry.delayMs = 0;
      const isFirst = entry.delayMs === 0 && entry.repairsMs.length >= FREE_REPAIRS;
      if (isFirst) {
        entry.delayMs = 1000;
        entry.notBeforeMs = nowMs + entry.delayMs;
        return { kind: 'later', delayMs: entry.delayMs, isFirst };
      }
      entry.repairsMs.push(nowMs);
      if (entry.delayMs > 0) {
        entry.delayMs = Math.min(entry.delayMs * 2, MAX_DELAY_MS);
        entry.notBeforeMs = nowMs + entry.delayMs;
      }
      return { kind: 'now' };
    },
    keep(keys) {
      for (const key of entries.keys()) if (!keys.has(key)) entries.delete(key);
    },
  };
}
