/** VMware's tools as a protocol of the daemon: the link to the host, the session on it, and the parts that do the work. */
import { dirname } from 'node:path';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Guest } from '../../guest/guest.ts';
import { readMounts } from '../../guest/mounts.ts';
import { createProgramRunner } from '../../guest/program.ts';
import type { Log } from '../../log.ts';
import type { NativeAddon } from '../../native/index.ts';
import type { Quiescer } from '../../quiesce/quiescer.ts';
import type { ReportClock } from '../../report-clock.ts';
import type { Hooks } from '../../scripts/hooks.ts';
import type { ScriptEngine } from '../../scripts/jobs.ts';
import { type Backdoor, probeBackdoor } from './backdoor.ts';
import { createBackup } from './backup/backup.ts';
import { createGuestInfo } from './guest-info/reporter.ts';
import { createHostLink, type VsocketConnector } from './host-link.ts';
import type { VmtoolsPart } from './part.ts';
import { createPower } from './power.ts';
import { hookScripts, toolsScripts } from './power-scripts.ts';
import type { LinkKind, LinkState } from './rpc.ts';
import { createSession } from './session.ts';
import { createTell } from './tell.ts';
import { absentBackdoor, testConnector } from './test-transport.ts';
import { createTimeSync } from './time-sync/time-sync.ts';
import { openToolsConf } from './tools-conf.ts';
import { toolsVersion } from './tools-version.ts';
import { type GuestOperationsSettings, guestOperationsOf } from './vix/profiles.ts';
import { vsocketConnector } from './vsocket-connection.ts';

export interface VmtoolsServiceOptions {
  readonly native: NativeAddon;
  readonly log: Log;
  readonly gate: FreezeGate;
  readonly guest: Guest;
  readonly quiescer: Quiescer;
  readonly scripts: ScriptEngine;
  readonly hooks: Hooks;
  readonly clock: ReportClock;
  readonly compat: 'chr' | 'upstream';
  /** Path of open-vm-tools' configuration file, which may be missing. */
  readonly toolsConf: string;
  readonly timeSyncBackward: boolean;
  readonly agentVersion: string;
  readonly guestOperations: GuestOperationsSettings;
  /** {@link testConnector}; null: the machine's own host. */
  readonly testSocket: string | null;
  /** Calls back after changes of links, addresses or routes. @returns the way to stop that */
  onNetworkChange(listener: () => void): () => void;
  onState(state: LinkState | 'failed', detail: string): void;
}

export interface VmtoolsService {
  /** Resolves after {@link stop}: a host that does not answer is waited for. */
  readonly ended: Promise<void>;
  /** Waits for the script of a power operation, and takes back what the host was told. */
  stop(): Promise<void>;
}

export function startVmtoolsService(options: VmtoolsServiceOptions): VmtoolsService {
  const { native, gate, guest, compat } = options;
  const log = ownLog(options.log);
  const ended = Promise.withResolvers<void>();
  const host = findHost(native, options.testSocket);
  if (host === null) {
    const problem = 'this is no VMware machine, or its host has closed the backdoor';
    log.error(problem);
    options.onState('failed', problem);
    return { ended: ended.promise, stop: async () => ended.resolve() };
  }

  const { rpci, tclo } = createHostLink({
    ...host,
    log,
    onState: (state: LinkState, kind: LinkKind) =>
      options.onState(state, state === 'connected' ? kind : `${kind}: the host does not answer, asked again`),
  });
  const version = toolsVersion(options.agentVersion);
  const tell = createTell(rpci, log);
  const toolsConf = openToolsConf({ path: options.toolsConf, gate, log });
  const timeSync = createTimeSync({
    backdoor: host.backdoor,
    clock: guest.clock,
    actions: guest.actions,
    log,
    compat,
    backwardAllowed: options.timeSyncBackward,
  });
  const power = createPower({
    scripts:
      compat === 'chr'
        ? hookScripts(options.hooks)
        : toolsScripts({ programs: options.scripts, toolsConf, gate }),
    tell,
    actions: guest.actions,
    gate,
    log,
  });
  const guestInfo = createGuestInfo({
    rpci,
    guest,
    gate,
    clock: options.clock,
    log,
    compat,
    toolsConf,
    build: String(version.buildNumber),
    onNetworkChange: options.onNetworkChange,
  });
  const backup = createBackup({
    rpci,
    quiescer: options.quiescer,
    hooks: options.hooks,
    run: createProgramRunner(native),
    gate,
    log,
    compat,
    toolsConf,
    configurationDirectory: dirname(options.toolsConf),
    versionNumber: version.versionNumber,
    mountPoints: () => readMounts().map(({ mountPoint }) => mountPoint),
  });
  const guestOperations = guestOperationsOf({
    native,
    log,
    gate,
    guest,
    scripts: options.scripts,
    tell,
    toolsConf,
    version,
    compat,
    settings: options.guestOperations,
  });
  const parts: readonly VmtoolsPart[] = [power, timeSync, guestInfo, backup, guestOperations];
  const session = createSession({
    rpci,
    tell,
    log,
    gate,
    version,
    configurationDirectory: dirname(options.toolsConf),
    toolsConf,
    uptimeHundredths: guest.uptimeHundredths,
    parts,
  });

  const stopping = new AbortController();
  const served = tclo.serve(session.handler, stopping.signal);
  void session.announce();

  return {
    ended: ended.promise,
    async stop() {
      // the host is served meanwhile, else it takes the tools for dead
      await Promise.all(parts.map((part) => part.stop?.()));
      await session.withdraw();
      await rpci.close();
      stopping.abort();
      await served;
      ended.resolve();
    },
  };
}

function findHost(
  native: NativeAddon,
  testSocket: string | null,
): { backdoor: Backdoor; connectVsocket: VsocketConnector } | null {
  if (testSocket !== null)
    return { backdoor: absentBackdoor(), connectVsocket: testConnector(native, testSocket) };
  const backdoor = probeBackdoor(native);
  if (backdoor === null) return null;
  return { backdoor, connectVsocket: vsocketConnector(native) };
}

/** Says in each line which protocol it is about. */
function ownLog(log: Log): Log {
  return {
    error: (text) => log.error(`vmtools: ${text}`),
    warning: (text) => log.warning(`vmtools: ${text}`),
    info: (text) => log.info(`vmtools: ${text}`),
    debug: (text) => log.debug(`vmtools: ${text}`),
  };
}
