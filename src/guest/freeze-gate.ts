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
}

export interface FreezeGateControl extends FreezeGate {
  shut(): void;
  open(): void;
}

export function createFreezeGate(): FreezeGateControl {
  let frozen = false;
  const listeners = new Set<() => void>();
  return {
    get frozen() {
      return frozen;
    },
    whenThawed() {
      if (!frozen) return Promise.resolve();
      return new Promise((resolve) => {
        const stop = this.onThaw(() => {
          stop();
          resolve();
        });
      });
    },
    onThaw(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    shut() {
      frozen = true;
    },
    open() {
      if (!frozen) return;
      frozen = false;
      for (const listener of [...listeners]) listener();
    },
  };
}
