/** A quiescer that sees only the mounts it is given: whatever a test does, no other file system is in its reach. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { FreezeGateControl } from '../../src/guest/freeze-gate.ts';
import type { Guest } from '../../src/guest/guest.ts';
import type { Mount } from '../../src/guest/mounts.ts';
import type { Log } from '../../src/log.ts';
import { helperPath, native } from '../../src/native/index.ts';
import { type Guard, startGuard } from '../../src/quiesce/guard.ts';
import { type QuiesceHooks, scriptHooks } from '../../src/quiesce/hooks.ts';
import { createMarkerFile, type MarkerFile } from '../../src/quiesce/marker.ts';
import { createQuiescer, type Quiescer } from '../../src/quiesce/quiescer.ts';
import { type LeftFrozen, thawLeftFrozen } from '../../src/quiesce/rescue.ts';
import { createHooks } from '../../src/scripts/hooks.ts';
import type { Jobs } from '../../src/scripts/job.ts';

export interface TestQuiescerOptions {
  /** For the hooks and the marker. */
  directory: string;
  filesDir: string;
  log: Log;
  gate: FreezeGateControl;
  guest: Pick<Guest, 'actions'>;
  jobs: Jobs;
  readMounts?: () => readonly Mount[];
  timeLimitMs?: number;
  hookTimeLimitMs?: number;
  hooks?: QuiesceHooks;
  left?: LeftFrozen | null;
  /** Sees each guard that is started. */
  onGuard?: (guard: Guard) => void;
}

export const hooksDirOf = (directory: string): string => join(directory, 'hooks');

function partsOf(options: TestQuiescerOptions): {
  log: Log;
  marker: MarkerFile;
  readMounts: () => readonly Mount[];
  startGuard: (timeLimitMs: number) => Promise<Guard>;
} {
  const { directory, log, gate, guest, readMounts = () => [], onGuard } = options;
  return {
    log,
    marker: createMarkerFile(join(directory, 'freeze.state'), gate),
    readMounts,
    startGuard: async (timeLimitMs) => {
      const guard = await startGuard({ native, actions: guest.actions, helperPath, timeLimitMs });
      onGuard?.(guard);
      return guard;
    },
  };
}

export function createTestQuiescer(options: TestQuiescerOptions): Quiescer {
  const { directory, filesDir, log, gate, guest, jobs, timeLimitMs = 0, left = null } = options;
  mkdirSync(hooksDirOf(directory), { recursive: true });
  const hooks =
    options.hooks ??
    scriptHooks(
      createHooks({ jobs, gate, log, hooksDir: hooksDirOf(directory), filesDir }),
      options.hookTimeLimitMs,
    );
  return createQuiescer({
    ...partsOf(options),
    gate,
    left,
    policy: () => ({ hooks, timeLimitMs }),
    mayFreeze: (action, mount) => guest.actions.mayFreeze(action, mount),
    errorText: (errno) => native.errorText(errno),
  });
}

/** The first step of a daemon's start. */
export function thawLeft(options: TestQuiescerOptions): Promise<LeftFrozen | null> {
  return thawLeftFrozen(partsOf(options));
}
