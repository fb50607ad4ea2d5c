/** The protocol registry: a hypervisor's protocol is a folder under src/protocols and one entry here. */
import { join } from 'node:path';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Guest } from '../guest/guest.ts';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/index.ts';
import type { EndpointAddress, EndpointState } from '../protocols/transport/endpoint.ts';
import type { Quiescer } from '../quiesce/quiescer.ts';
import type { ReportClock } from '../report-clock.ts';
import type { ScriptEngine } from '../scripts/jobs.ts';
import type { Config, ProtocolSwitch } from './config.ts';
import { type ProtocolName, VIRTIO_PORT } from './detect.ts';
import type { ProtocolState } from './status.ts';

/** What a protocol is given. */
export interface ProtocolContext {
  readonly native: NativeAddon;
  readonly log: Log;
  readonly gate: FreezeGate;
  readonly guest: Guest;
  readonly quiescer: Quiescer;
  readonly scripts: ScriptEngine;
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
