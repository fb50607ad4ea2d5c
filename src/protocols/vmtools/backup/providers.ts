/** The two ways to make the disks fit for a snapshot: freezing file systems, and only writing what is dirty. */

import type { RunProgram } from '../../../guest/program.ts';
import { hookError, QuiesceError } from '../../../quiesce/errors.ts';
import type { QuiesceHooks } from '../../../quiesce/hooks.ts';
import type { Quiescer } from '../../../quiesce/quiescer.ts';

export interface SyncProvider {
  /**
   * Runs the freeze hook, then makes the disks fit. When it fails, everything is thawed and freeze-fail has run.
   * @returns how many file systems are frozen
   * @throws {QuiesceError}
   */
  freeze(signal: AbortSignal): Promise<number>;
  /** Thaws, then runs the thaw hook. @throws {QuiesceError} */
  thaw(): Promise<void>;
}

/** Whom the quiescer's messages name. */
export const OWNER = 'vmtools';

export function freezingProvider(
  quiescer: Quiescer,
  hooks: QuiesceHooks,
  mountPoints: readonly string[] | null,
): SyncProvider {
  let count = 0;
  return {
    async freeze(signal) {
      count = await quiescer.freeze(OWNER, mountPoints ?? undefined, { signal, hooks });
      return count;
    },
    async thaw() {
      if (count > 0) await quiescer.thaw(OWNER);
      // a thaw without a freeze would thaw what others froze
      else await runThawHook(hooks);
    },
  };
}

/** Nothing is frozen: what is dirty is written, between the hooks. */
export function syncingProvider(run: RunProgram, hooks: QuiesceHooks): SyncProvider {
  return {
    async freeze(signal) {
      const failure = await hooks.freeze(signal);
      if (failure !== null) {
        await hooks.freezeFailed('freeze-hook');
        throw hookError(failure);
      }
      const result = await run({ candidates: SYNC, args: [], signal });
      if (result.kind !== 'exited' || result.code !== 0) {
        await hooks.freezeFailed('later');
        throw new QuiesceError('freeze', `${result.program} failed`);
      }
      return 0;
    },
    thaw: () => runThawHook(hooks),
  };
}

async function runThawHook(hooks: QuiesceHooks): Promise<void> {
  const failure = await hooks.thaw();
  if (failure !== null) throw hookError(failure);
}

const SYNC = ['/bin/sync', '/usr/bin/sync'];
