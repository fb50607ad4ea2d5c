/** Our QEMU guest agent in this process, on a unix socket, in a directory of its own. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFreezeGate, type FreezeGateControl } from '../../src/guest/freeze-gate.ts';
import { createGuest } from '../../src/guest/guest.ts';
import { helperPath, native } from '../../src/native/index.ts';
import { type QgaServiceOptions, startQgaService } from '../../src/protocols/qemu-ga/service.ts';
import type { Quiescer } from '../../src/quiesce/quiescer.ts';
import { createJobs } from '../../src/scripts/jobs.ts';
import { createTestQuiescer, type TestQuiescerOptions } from './quiescer.ts';
import { recordingLog } from './quiet-log.ts';

export interface OurAgent {
  readonly directory: string;
  readonly filesDir: string;
  readonly socketPath: string;
  readonly logLines: readonly string[];
  readonly gate: FreezeGateControl;
  readonly quiescer: Quiescer;
  stop(): Promise<void>;
}

/** Without `freezing` there is nothing that it could freeze. */
export async function startOurAgent(
  changes: Partial<QgaServiceOptions> = {},
  freezing: Partial<TestQuiescerOptions> = {},
): Promise<OurAgent> {
  const directory = mkdtempSync(join(tmpdir(), 'qga-ours-'));
  const filesDir = join(directory, 'files');
  const socketPath = join(directory, 'qga.sock');
  mkdirSync(filesDir);
  const log = recordingLog();
  const gate = createFreezeGate();
  const guest = createGuest({
    native,
    log,
    noActions: true,
    testRoot: null,
    osReleaseFile: null,
    tzVariable: process.env.TZ,
  });
  const scripts = createJobs({
    native,
    helperPath,
    log,
    gate,
    interpreter: '/bin/sh',
    filesDir,
    runtimeDir: join(directory, 'scripts'),
    stateDir: join(directory, 'state'),
    spillDir: join(directory, 'spill'),
    graceMs: 200,
  });
  const quiescer = createTestQuiescer({ directory, filesDir, log, gate, guest, jobs: scripts, ...freezing });
  const service = startQgaService({
    native,
    log,
    gate,
    guest,
    quiescer,
    scripts,
    address: { method: 'unix-listen', path: socketPath },
    compat: 'chr',
    version: '10.2.2',
    blockedCommands: [],
    allowedCommands: [],
    filesDir,
    stateFile: join(directory, 'qga.state'),
    scriptTimeLimitMs: 10_000,
    retries: false,
    onState: () => undefined,
    ...changes,
  });
  return {
    directory,
    filesDir,
    socketPath,
    logLines: log.lines,
    gate,
    quiescer,
    async stop() {
      await quiescer.stop();
      await service.stop();
      await scripts.close();
      rmSync(directory, { recursive: true });
    },
  };
}
