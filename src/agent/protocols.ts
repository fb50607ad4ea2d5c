/** The protocol registry: a hypervisor's protocol is a folder under src/protocols and one entry here. */
import { join } from 'node:path';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Guest } from '../guest/guest.ts';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/index.ts';
import type { EndpointAddress, EndpointState } from '../protocols/transport/endpoint.ts';
import type { Quiescer } from '../quiesce/quiescer.ts';
import type { ReportClock } from '../report-clock.ts';
import type { Hooks } from '../scripts/hooks.ts';
import type { ScriptEngine } from '../scripts/jobs.ts';
import type { Config, ProtocolSwitch } from './config.ts';
import { type ProtocolName, VIRTIO_PORT } from './detect.ts';
import type { ProtocolState } from './status.ts';
import { VERSION } from './version.ts';

/** What a protocol is given. */
export interface ProtocolContext {
  readonly native: NativeAddon;
  readonly log: Log;
  readonly gate: FreezeGate;
  readonly guest: Guest;
  readonly quiescer: Quiescer;
  readonly scripts: ScriptEngine;
  readonly hooks: Hooks;
  readonly clock: ReportClock;
  readonly config: Config;
  onState(state: ProtocolState, detail: string): void;
}

export interface RunningProtocol {
  /** Settles when the protocol has ended; rejects when it could not do its work and does not try again. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

export interface Protocol {
  readonly name: ProtocolName;
  isEnabled(config: Config): ProtocolSwitch;
  /** The part of the configuration after whose change it is started anew. */
  settings(config: Config): unknown;
  start(context: ProtocolContext): Promise<RunningProtocol>;
}

export const PROTOCOLS: readonly Protocol[] = [
  {
    name: 'qemu-ga',
    isEnabled: (config) => config.qemuGa.enabled,
    settings: (config) => [config.qemuGa, config.scripts.timeLimitMs],
    start: startQemuGa,
  },
  {
    name: 'vmtools',
    isEnabled: (config) => config.vmtools.enabled,
    settings: (config) => [config.vmtools, config.scripts.timeLimitMs],
    start: startVmtools,
  },
  {
    name: 'xenstore',
    isEnabled: (config) => config.xenstore.enabled,
    settings: (config) => [config.xenstore, config.scripts.filesDir],
    start: startXenstore,
  },
];

async function startQemuGa(context: ProtocolContext): Promise<RunningProtocol> {
  const { config, native, log, gate, guest, quiescer, scripts } = context;
  const { startQgaService } = await import('../protocols/qemu-ga/service.ts');
  return startQgaService({
    native,
    log,
    gate,
    guest,
    quiescer,
    scripts,
    address: qgaAddress(config, activatedDescriptor(process.env)),
    compat: config.qemuGa.compat,
    version: config.qemuGa.version,
    blockedCommands: config.qemuGa.blockRpcs,
    allowedCommands: config.qemuGa.allowRpcs,
    filesDir: config.scripts.filesDir,
    stateFile: join(config.agent.runtimeDir, 'qga.state'),
    scriptTimeLimitMs: config.scripts.timeLimitMs,
    retries: config.qemuGa.retryPath,
    onState: (state, detail) => context.onState(STATES[state], detail),
  });
}

async function startVmtools(context: ProtocolContext): Promise<RunningProtocol> {
  const { config, native, log, gate, guest, quiescer, scripts, hooks, clock } = context;
  const { startVmtoolsService } = await import('../protocols/vmtools/service.ts');
  const { helperPath } = await import('../native/index.ts');
  const { watchNetwork } = await import('../guest/network-events.ts');
  return startVmtoolsService({
    native,
    log,
    gate,
    guest,
    quiescer,
    scripts,
    hooks,
    clock,
    compat: config.vmtools.compat,
    toolsConf: config.vmtools.toolsConf,
    timeSyncBackward: config.vmtools.timeSyncBackward,
    agentVersion: VERSION,
    guestOperations: {
      policy: {
        users: config.vmtools.guestOperationsUsers,
        groups: config.vmtools.guestOperationsGroups,
        emptyPassword: config.vmtools.allowEmptyPassword,
      },
      scriptTimeLimitMs: config.scripts.timeLimitMs,
      filesDir: config.scripts.filesDir,
      stateDir: config.agent.stateDir,
      helperPath,
    },
    testSocket: process.env.CHR_AGENT_VMTOOLS_SOCKET ?? null,
    onNetworkChange(listener) {
      const groups = ['links', 'addresses', 'routes'] as const;
      const watch = watchNetwork({ native, log, groups, onChange: () => listener() });
      return () => watch?.close();
    },
    onState: (state, detail) => context.onState(state, detail),
  });
}

async function startXenstore(context: ProtocolContext): Promise<RunningProtocol> {
  const { config, native, log, gate, guest, scripts, clock } = context;
  const { startXenstoreService } = await import('../protocols/xenstore/service.ts');
  const { watchNetwork } = await import('../guest/network-events.ts');
  return startXenstoreService({
    native,
    log,
    gate,
    guest,
    scripts,
    clock,
    path: config.xenstore.path,
    agentVersion: VERSION,
    scriptTimeLimitMs: config.xenstore.timeLimitMs,
    misspeltOutput: config.xenstore.misspeltOutput,
    featureBalloon: config.xenstore.featureBalloon,
    runAtEveryBoot: config.xenstore.runAtEveryBoot,
    filesDir: config.scripts.filesDir,
    journalFile: join(config.agent.stateDir, 'provision.journal'),
    onNetworkChange(listener) {
      const watch = watchNetwork({ native, log, onChange: () => listener() });
      return () => watch?.close();
    },
    onState: (state, detail) => context.onState(state, detail),
  });
}

const STATES: Record<EndpointState, ProtocolState> = {
  waiting: 'waiting',
  listening: 'listening',
  open: 'connected',
  failed: 'failed',
};

/** qemu-ga's default paths (spec qemu-ga.md section 1); a listener has none, which the configuration has checked. */
export function qgaAddress({ qemuGa }: Pick<Config, 'qemuGa'>, activatedFd: number | null): EndpointAddress {
  if (activatedFd !== null) return { method: 'activated', fd: activatedFd };
  switch (qemuGa.method) {
    case 'virtio-serial':
      return { method: 'virtio-serial', path: qemuGa.path ?? VIRTIO_PORT };
    case 'isa-serial':
      return { method: 'isa-serial', path: qemuGa.path ?? '/dev/ttyS0' };
    case 'unix-listen':
      return { method: 'unix-listen', path: qemuGa.path ?? '' };
    case 'vsock-listen': {
      const [cid = '', port = ''] = (qemuGa.path ?? '').split(':');
      return { method: 'vsock-listen', cid: Number(cid), port: Number(port) };
    }
  }
}

/** First descriptor that systemd passes (sd_listen_fds(3)). */
const LISTEN_FDS_START = 3;

/** systemd's socket activation: exactly one descriptor, meant for this process (spec qemu-ga.md section 1). */
export function activatedDescriptor(env: NodeJS.ProcessEnv, pid = process.pid): number | null {
  if (env.LISTEN_PID !== String(pid)) return null;
  if (env.LISTEN_FDS !== '1')
    throw new Error(`socket activation: one descriptor is expected, not ${env.LISTEN_FDS}`);
  return LISTEN_FDS_START;
}
