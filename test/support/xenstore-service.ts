/** The xenstore service as a guest on a real store has it, with a script engine of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFreezeGate, type FreezeGateControl } from '../../src/guest/freeze-gate.ts';
import { createGuest, type Guest } from '../../src/guest/guest.ts';
import { helperPath, native } from '../../src/native/index.ts';
import {
  startXenstoreService,
  type XenstoreService,
  type XenstoreServiceOptions,
} from '../../src/protocols/xenstore/service.ts';
import { createReportClock } from '../../src/report-clock.ts';
import { createJobs, type ScriptEngine } from '../../src/scripts/jobs.ts';
import { recordingLog } from './quiet-log.ts';

export interface TestAgent {
  readonly directory: string;
  readonly filesDir: string;
  readonly gate: FreezeGateControl;
  readonly scripts: ScriptEngine;
  /** All lines, of every run. */
  readonly log: ReturnType<typeof recordingLog>;
  readonly states: string[];
  /** Tells the running service that the network has changed. */
  networkChanged(): void;
  /** Ends the service as the daemon does, and its scripts. */
  stop(): Promise<void>;
  /** Begins it again. */
  start(more?: Partial<XenstoreServiceOptions>): void;
  close(): Promise<void>;
}

/** Starts it on a guest's socket. @param facts in the place of this machine's */
export function startTestAgent(
  path: string,
  more: Partial<XenstoreServiceOptions> = {},
  facts: Partial<Guest> = {},
): TestAgent {
  const directory = mkdtempSync(join(tmpdir(), 'xs-agent-'));
  const filesDir = join(directory, 'files');
  const log = recordingLog();
  const gate = createFreezeGate();
  const states: string[] = [];
  const listeners = new Set<() => void>();
  let scripts: ScriptEngine;
  let service: XenstoreService | null = null;

  function start(other: Partial<XenstoreServiceOptions> = {}): void {
    const guest = createGuest({
      native,
      log,
      noActions: true,
      testRoot: null,
      osReleaseFile: null,
      tzVariable: undefined,
    });
    scripts = createJobs({
      native,
      helperPath,
      log,
      gate,
      interpreter: '/bin/sh',
      filesDir,
      runtimeDir: join(directory, 'run'),
      stateDir: directory,
      spillDir: join(directory, 'spill'),
      graceMs: 200,
    });
    service = startXenstoreService({
      native,
      log,
      gate,
      guest: { ...guest, ...facts },
      scripts,
      clock: createReportClock(200),
      path,
      agentVersion: '2.3.4',
      scriptTimeLimitMs: 20_000,
      misspeltOutput: true,
      featureBalloon: null,
      runAtEveryBoot: false,
      filesDir,
      journalFile: join(directory, 'provision.journal'),
      onNetworkChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      onState: (state, detail) => states.push(`${state}: ${detail}`),
      ...more,
      ...other,
    });
  }

  async function stop(): Promise<void> {
    if (service === null) return;
    await scripts.drain(0);
    await service.stop();
    await service.ended;
    await scripts.close();
    service = null;
  }

  start();
  return {
    directory,
    filesDir,
    gate,
    get scripts() {
      return scripts;
    },
    log,
    states,
    networkChanged() {
      for (const listener of listeners) listener();
    },
    stop,
    start,
    async close() {
      await stop();
      rmSync(directory, { recursive: true });
    },
  };
}
