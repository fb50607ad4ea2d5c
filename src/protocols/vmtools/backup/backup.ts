/**
 * Quiesced snapshots (spec vmware.md section 8, "vmbackup"; chr-wiki.txt, quiescing): the host asks for one, and the one quiescer
 * of the daemon does it. In `chr` the administrator's hooks run around it, in `upstream` the scripts of open-vm-tools.
 */
import { join } from 'node:path';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { RunProgram } from '../../../guest/program.ts';
import type { Log } from '../../../log.ts';
import { type QuiesceHooks, scriptHooks } from '../../../quiesce/hooks.ts';
import type { Quiescer } from '../../../quiesce/quiescer.ts';
import type { Hooks } from '../../../scripts/hooks.ts';
import type { VmtoolsPart } from '../part.ts';
import { accepted, type Rpci, refused, type TcloReply } from '../rpc.ts';
import { type SetTimer, setRealTimer } from '../timer.ts';
import type { ToolsConf, ToolsConfFile } from '../tools-conf.ts';
import { createBackupEvents } from './events.ts';
import { manifestText, writeManifest } from './manifest.ts';
import { type BackupOperation, startOperation } from './operation.ts';
import { freezingProvider, syncingProvider } from './providers.ts';
import {
  type BackupRequest,
  BadBackupRequest,
  plainRequest,
  requestedMountPoints,
  requestWithOptions,
} from './request.ts';
import { backupScripts } from './tools-scripts.ts';

export interface BackupOptions {
  readonly rpci: Pick<Rpci, 'request'>;
  readonly quiescer: Quiescer;
  readonly hooks: Hooks;
  readonly run: RunProgram;
  readonly gate: FreezeGate;
  readonly log: Log;
  readonly compat: 'chr' | 'upstream';
  readonly toolsConf: ToolsConfFile;
  /** Where tools.conf is: for the manifest, and for the scripts of `upstream`. */
  readonly configurationDirectory: string;
  /** Of the tools. */
  readonly versionNumber: number;
  /** Where something is mounted now. */
  mountPoints(): readonly string[];
  readonly setTimer?: SetTimer;
}

const NONE: QuiesceHooks = {
  freeze: async () => null,
  freezeFailed: async () => undefined,
  thaw: async () => null,
};
const NO_OPERATION = 'Error: no quiesce operation in progress';
const IN_PROGRESS = 'Quiesce operation already in progress.';

export function createBackup(options: BackupOptions): VmtoolsPart {
  const { quiescer, gate, log, compat, toolsConf, setTimer = setRealTimer } = options;
  const manifestPath = join(options.configurationDirectory, 'quiesce_manifest.xml');
  let current: BackupOperation | null = null;
  let isStopping = false;

  return {
    commands: {
      'vmbackup.start': (argument) =>
        begin((conf) => plainRequest(argument.toString('utf8').replace(/\0.*$/s, ''), conf, compat)),
      'vmbackup.startWithOpts': (argument) => begin((conf) => requestWithOptions(argument, conf)),
      'vmbackup.snapshotDone': async () => current?.snapshotDone() ?? refused(NO_OPERATION),
      'vmbackup.abort': async () => {
        if (current === null) return refused(NO_OPERATION);
        await current.cancel('host');
        return accepted();
      },
      'vmbackup.snapshotCompleted': async () => refused('Error: no quiesce complete in progress'),
    },
    async stop() {
      isStopping = true;
      await current?.cancel('stopping');
      await current?.ended;
    },
  };

  async function begin(parse: (conf: ToolsConf) => BackupRequest): Promise<TcloReply> {
    if (current !== null) return refused(IN_PROGRESS);
    if (isStopping) return refused('Error initializing quiesce operation.');
    const { state, owner } = quiescer.status;
    if (state !== 'thawed') {
      log.warning(`backup: refused, since ${owner} uses the file systems (${state})`);
      return refused(IN_PROGRESS);
    }
    const conf = await toolsConf.read();
    try {
      return await start(parse(conf), conf);
    } catch (error) {
      if (error instanceof BadBackupRequest) return refused(error.message);
      throw error;
    }
  }

  async function start(request: BackupRequest, conf: ToolsConf): Promise<TcloReply> {
    const events = createBackupEvents({
      rpci: options.rpci,
      log,
      setTimer,
      onForgotten: () => void operation?.cancel('unheard'),
    });
    let operation: BackupOperation | null = null;
    if (!(await events.send('reset'))) {
      events.close();
      return refused('Error initializing quiesce operation.');
    }
    const mountPoints = requestedMountPoints(request, conf, options.mountPoints);
    operation = startOperation({
      events,
      hooks: request.runsScripts ? hooksOf(request) : NONE,
      provider: (hooks) =>
        request.freezes
          ? freezingProvider(quiescer, hooks, mountPoints)
          : syncingProvider(options.run, hooks),
      whenThawed: () => gate.whenThawed(),
      wasThawedMeanwhile: () => quiescer.status.notice !== null,
      onThaw: (listener) => gate.onThaw(listener),
      manifest: request.wantsManifest ? manifest : null,
      timeLimitMs: request.timeLimitMs,
      reportsThawHook: compat === 'upstream',
      setTimer,
      log,
    });
    current = operation;
    void operation.ended.finally(() => {
      current = null;
    });
    return accepted();
  }

  function hooksOf({ scriptArgument }: BackupRequest): QuiesceHooks {
    if (compat === 'chr') return scriptHooks(options.hooks);
    const directory = join(options.configurationDirectory, 'backupScripts.d');
    return backupScripts({ run: options.run, gate, log, directory, argument: scriptArgument });
  }

  async function manifest(): Promise<string | null> {
    const isThere = await writeManifest(manifestPath, manifestText(options.versionNumber), gate, log);
    return isThere ? manifestPath : null;
  }
}
