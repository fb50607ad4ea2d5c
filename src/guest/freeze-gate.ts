/**
 * The one gate that every writer in the daemon passes: while it is shut (file systems are frozen, or about to be) nothing
 * may be written to disk and no file call may be made. The quiescer shuts and opens it.
 */
export interface FreezeGate {
  readonly frozen: boolean;
  /** Resolves at once when thawed, else at the next thaw. */
  whenThawed(): Promise<void>;
  /** Calls back after each thaw; returns the way to stop that. */
  onThaw(listener: () => void): () => void;
  /**
   * Does a piece of work with files: begins when thawed, and a freeze waits for its end. Keep it to what must not be
   * interrupted: a freeze does not wait long.
   */
  pass<T>(work: () => Promise<T>): Promise<T>;
}

export interface FreezeGateControl extends FreezeGate {
  /** Shuts it at once; resolves when the work that passed before has ended. */
  shut(): Promise<void>;
  open(): void;
}

export function createFreezeGate(): FreezeGateControl {
  let frozen = false;
  let inside = 0;
  const listeners = new Set<() => void>();
  let thaw = Promise.withResolvers<void>();
  let emptied = Promise.withResolvers<void>();

  async function whenThawed(): Promise<void> {
    // it may be shut again before the one who waited gets his turn
    while (frozen) await thaw.promise;
  }

  return {
    get frozen() {
      return frozen;
    },
    whenThawed,
    onThaw(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async pass(work) {
      if (frozen) await whenThawed();
      inside += 1;
      try {
        return await work();
      } finally {
        inside -= 1;
        if (inside === 0) {
          emptied.resolve();
          emptied = Promise.withResolvers();
        }
      }
    },
    async shut() {
      frozen = true;
      while (inside > 0) await emptied.promise;
    },
    open() {
      if (!frozen) return;
      frozen = false;
      thaw.resolve();
      thaw = Promise.withResolvers();
      for (const listener of [...listeners]) listener();
    },
  };
}
