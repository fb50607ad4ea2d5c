/** A quiescer with real hooks, a real guard and a real script engine, limited to a test's own mounts. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFreezeGate, type FreezeGateControl } from '../../../src/guest/freeze-gate.ts';
import { createGuest } from '../../../src/guest/guest.ts';
import type { Mount } from '../../../src/guest/mounts.ts';
import { helperPath, native } from '../../../src/native/index.ts';
import type { Quiescer } from '../../../src/quiesce/quiescer.ts';
import { createJobs, type ScriptEngine } from '../../../src/scripts/jobs.ts';
import {
  createTestQuiescer,
  hooksDirOf,
  type TestQuiescerOptions,
  thawLeft,
} from '../../support/quiescer.ts';
import { recordingLog } from '../../support/quiet-log.ts';

export interface QuiesceAgent {
  readonly directory: string;
  readonly filesDir: string;
  readonly quiescer: Quiescer;
  readonly gate: FreezeGateControl;
  readonly jobs: ScriptEngine;
  readonly logLines: readonly string[];
  /** Which hooks ran, in their order. */
  hookRuns(): string[];
  setHook(name: 'freeze' | 'freeze-fail' | 'thaw', then: string): void;
  [Symbol.asyncDispose](): Promise<void>;
}

const runsFile = (directory: string): string => join(directory, 'hook-runs');

/** Every hook notes that it ran, then does `then`. */
export function writeHook(directory: string, name: string, then: string): void {
  mkdirSync(hooksDirOf(directory), { recursive: true });
  writeFileSync(join(hooksDirOf(directory), name), `echo ${name} >> ${runsFile(directory)}\n${then}\n`);
}

export function hookRunsIn(directory: string): string[] {
  const path = runsFile(directory);
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
}

/** In `directory`, where an earlier one may have been killed, or in a new one that goes with it. */
export async function startQuiesceAgent(
  readMounts: () => readonly Mount[],
  more: Partial<TestQuiescerOptions> = {},
  directory = mkdtempSync(join(tmpdir(), 'chr-agent-quiescer-')),
): Promise<QuiesceAgent> {
  const filesDir = join(directory, 'files');
  const log = recordingLog();
  const gate = createFreezeGate();
  const guest = createGuest({
    native,
    log,
    noActions: true,
    testRoot: null,
    osReleaseFile: null,
    tzVariable: undefined,
  });
  for (const name of ['freeze', 'freeze-fail', 'thaw']) {
    if (!existsSync(join(hooksDirOf(directory), name))) writeHook(directory, name, 'true');
  }
  const jobs = createJobs({
    native,
    helperPath,
    log,
    gate,
    interpreter: '/bin/sh',
    filesDir,
    runtimeDir: join(directory, 'scripts'),
    stateDir: join(directory, 'state'),
    spillDir: join(directory, 'spill'),
    graceMs: 100,
  });
  const options = { directory, filesDir, log, gate, guest, jobs, readMounts, ...more };
  const left = await thawLeft(options);
  const quiescer = createTestQuiescer({ ...options, left });
  return {
    directory,
    filesDir,
    quiescer,
    gate,
    jobs,
    logLines: log.lines,
    hookRuns: () => hookRunsIn(directory),
    setHook: (name, then) => writeHook(directory, name, then),
    async [Symbol.asyncDispose]() {
      await quiescer.stop();
      await jobs.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
