/** The vmtools service as a guest of a simulated host has it, with hooks and a script engine of its own. Its power actions are noted, not done. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFreezeGate, type FreezeGateControl } from '../../src/guest/freeze-gate.ts';
import { createGuest, type Guest } from '../../src/guest/guest.ts';
import type { Mount } from '../../src/guest/mounts.ts';
import type { ProgramResult } from '../../src/guest/program.ts';
import { helperPath, native } from '../../src/native/index.ts';
import { startVmtoolsService, type VmtoolsServiceOptions } from '../../src/protocols/vmtools/service.ts';
import type { GuestOperationsSettings } from '../../src/protocols/vmtools/vix/profiles.ts';
import type { Quiescer } from '../../src/quiesce/quiescer.ts';
import { createReportClock } from '../../src/report-clock.ts';
import { type HookName, type HookSettings, openHookSettings } from '../../src/scripts/hook-settings.ts';
import { createHooks } from '../../src/scripts/hooks.ts';
import { createJobs, type ScriptEngine } from '../../src/scripts/jobs.ts';
import { createVmx, type Vmx } from '../hosts/vmx/vmx.ts';
import { makeAccounts } from './guest-accounts.ts';
import { createTestQuiescer } from './quiescer.ts';
import { recordingLog } from './quiet-log.ts';
import { simulatedNative } from './simulated-backdoor.ts';

export interface TestTools extends AsyncDisposable {
  readonly vmx: Vmx;
  readonly directory: string;
  readonly filesDir: string;
  readonly gate: FreezeGateControl;
  readonly quiescer: Quiescer;
  readonly scripts: ScriptEngine;
  readonly settings: HookSettings;
  readonly log: ReturnType<typeof recordingLog>;
  readonly states: string[];
  /** The guest's power actions, as asked for. */
  readonly powered: string[];
  /** Notes that it ran, then does `then`. */
  setHook(name: HookName, then: string): void;
  hookRuns(): string[];
  /** tools.conf. */
  setToolsConf(text: string): void;
  /** The RPCs from number `from` on. */
  texts(from?: number): string[];
  /** Sends a command. @returns the whole reply */
  ask(command: string): Promise<string>;
  /** Ends the service as the daemon does. */
  stop(): Promise<void>;
}

export interface TestToolsOptions extends Partial<Omit<VmtoolsServiceOptions, 'guestOperations'>> {
  readonly vmx?: Vmx;
  /** What the guest's power program says. */
  readonly power?: () => Promise<ProgramResult>;
  readonly facts?: Partial<Guest>;
  /** What may be frozen; default: nothing. */
  readonly readMounts?: () => readonly Mount[];
  /** After which the guard thaws; default: never. */
  readonly freezeLimitMs?: number;
  /** Where its files are; default: the system's temporary directory. */
  readonly place?: string;
  readonly guestOperations?: Partial<GuestOperationsSettings>;
  /** Default true. */
  readonly isHostThere?: boolean;
}

const WELL: ProgramResult = { kind: 'exited', program: '/sbin/poweroff', code: 0, output: Buffer.alloc(0) };

/** Starts it and waits for its session. */
export async function startTestTools(options: TestToolsOptions = {}): Promise<TestTools> {
  const {
    vmx = createVmx(),
    power = async () => WELL,
    facts = {},
    isHostThere = true,
    guestOperations = {},
    ...others
  } = options;
  const { readMounts = () => [], freezeLimitMs = 0, place = tmpdir(), ...more } = others;
  const directory = mkdtempSync(join(place, 'vmtools-'));
  const hooksDir = join(directory, 'hooks');
  const filesDir = join(directory, 'files');
  const stateDir = join(directory, 'state');
  const toolsConf = join(directory, 'tools.conf');
  const runs = join(directory, 'hook-runs');
  mkdirSync(hooksDir);
  const log = recordingLog();
  const gate = createFreezeGate();
  const settings = openHookSettings({ stateDir, gate, log });
  const guest = createGuest({
    native,
    log,
    noActions: true,
    testRoot: null,
    osReleaseFile: null,
    tzVariable: undefined,
  });
  const powered: string[] = [];
  const actions = {
    ...guest.actions,
    power: (mode: string) => {
      powered.push(mode);
      return power();
    },
  };
  const scripts = createJobs({
    native,
    helperPath,
    log,
    gate,
    interpreter: '/bin/sh',
    filesDir,
    runtimeDir: join(directory, 'scripts'),
    stateDir,
    spillDir: join(directory, 'spill'),
    graceMs: 100,
  });
  const hooks = createHooks({ jobs: scripts, gate, log, hooksDir, filesDir, isEnabled: settings.isEnabled });
  const quiescer = createTestQuiescer({
    ...{ directory, filesDir, log, gate, guest, readMounts },
    jobs: scripts,
    timeLimitMs: freezeLimitMs,
  });
  const states: string[] = [];
  const service = startVmtoolsService({
    native: Object.assign(Object.create(native), simulatedNative(vmx.backdoor), {
      connectVsock: () => -1,
      connectVsockFrom: () => -1,
    }),
    log,
    gate,
    guest: { ...guest, actions, ...facts },
    quiescer,
    scripts,
    hooks,
    clock: createReportClock(),
    compat: 'chr',
    toolsConf,
    timeSyncBackward: false,
    agentVersion: '1.2.3',
    guestOperations: {
      policy: { users: ['root'], groups: ['chr-agent'], emptyPassword: [] },
      scriptTimeLimitMs: 120_000,
      filesDir,
      stateDir,
      helperPath,
      accountsRoot: makeAccounts(join(directory, 'root')),
      ...guestOperations,
    },
    testSocket: null,
    onNetworkChange: () => () => undefined,
    onState: (state, detail) => void states.push(`${state} ${detail}`),
    ...more,
  });
  if (isHostThere) await vmx.tclo.session();
  return {
    vmx,
    directory,
    filesDir,
    gate,
    quiescer,
    scripts,
    settings,
    log,
    states,
    powered,
    setHook: (name, then) => writeFileSync(join(hooksDir, name), `echo ${name} >> ${runs}\n${then}\n`),
    hookRuns: () => (existsSync(runs) ? readFileSync(runs, 'utf8').trim().split('\n') : []),
    setToolsConf: (text) => writeFileSync(toolsConf, text),
    texts: (from = 0) => vmx.rpci.calls.slice(from).map(({ text }) => text),
    ask: async (command) => (await vmx.command(command)).bytes.toString(),
    stop: () => service.stop(),
    async [Symbol.asyncDispose]() {
      await quiescer.stop();
      await scripts.drain(0);
      await service.stop();
      await scripts.close();
      rmSync(directory, { recursive: true });
    },
  };
}
