/**
 * A simulated VMware host: the backdoor, its channels, RPCI and TCLO, and what the guest has reported. Fronts carry calls to it:
 * tracer-link.ts (unchanged processes under the tracer), in-process.ts (function calls) and vsocket-link.ts.
 * Truth: vmware.md, and what open-vm-tools 12.2 did against it (test/integration/vmtools/reference.test.ts).
 */
import { type BackdoorHost, createBackdoorHost, lowBandwidthCall } from './backdoor-calls.ts';
import { type Channels, createChannels, type Protocol, type Step } from './channels.ts';
import { type CpuidAnswer, type CpuidOptions, cpuid } from './cpuid.ts';
import { createGuestReports, type GuestReports } from './guest-reports.ts';
import { createGuestSystem, type GuestSystem } from './guest-system.ts';
import { lowHalf, MAGIC, PORT_HIGH, type Registers } from './registers.ts';
import { createRpci, done, type RpcCall, type Rpci, refusal } from './rpci.ts';
import { createTclo, type Tclo, type TcloReply } from './tclo.ts';

export interface VmxOptions {
  /** Default 8. */
  readonly maxChannels?: number;
  /** Default true. */
  readonly cookies?: boolean;
  /** Which messages go by the high-bandwidth port; default: all. */
  readonly highBandwidth?: (sizeBytes: number) => boolean;
  readonly cpuid?: CpuidOptions;
  /** Milliseconds from any origin. */
  readonly now?: () => number;
  /** From 0 up to 1, for the cookies. */
  readonly random?: () => number;
}

/** What a front needs. null: no backdoor call, the fault is the program's own. */
export interface Backdoor {
  lowBandwidth(call: Registers, privileged: boolean): Registers | null;
  highBandwidthOut(call: Registers, bytes: Buffer, privileged: boolean): Registers | null;
  highBandwidthIn(call: Registers): { readonly registers: Registers; readonly bytes: Buffer } | null;
  cpuid(leaf: number, machine: CpuidAnswer): CpuidAnswer;
}

export interface Vmx extends GuestReports {
  readonly backdoor: Backdoor;
  readonly host: BackdoorHost;
  readonly channels: Channels;
  readonly rpci: Rpci;
  readonly tclo: Tclo;
  /** What the tracer saw of the guest's system. */
  readonly system: GuestSystem;
  /** Steps so far by `PROTOCOL STEP`. */
  readonly steps: ReadonlyMap<string, number>;
  /** Asks the guest; a reply of ERROR is a reply. */
  command(command: string | Buffer, options?: { timeoutMs?: number }): Promise<TcloReply>;
  /** The first RPC that matches, among those from number `from` on (default 0) or still to come. */
  waitForRpc(pattern: RegExp | string, options?: { from?: number; timeoutMs?: number }): Promise<RpcCall>;
  /** Number of the next RPC, for `from`. */
  mark(): number;
  /** Drives a session up to 'tools running': reset, Capabilities_Register, Set_Option NAME VALUE…, then the event. */
  bringUp(options?: { options?: Readonly<Record<string, string>>; event?: string }): Promise<void>;
  /** The VM is another one now (snapshot revert, vMotion): channels and reports are lost. */
  revert(): void;
}

export function createVmx(options: VmxOptions = {}): Vmx {
  const now = options.now ?? (() => performance.now());
  const rpci = createRpci(now);
  const tclo = createTclo(now);
  const reports = createGuestReports(rpci);
  const host = createBackdoorHost();
  const steps = new Map<string, number>();
  const channels = createChannels(
    { RPCI: rpci.service, TCLO: tclo.service },
    {
      maxChannels: options.maxChannels ?? 8,
      cookies: options.cookies ?? true,
      highBandwidth: options.highBandwidth ?? (() => true),
      random: options.random ?? Math.random,
      onStep(step: Step, protocol: Protocol | undefined) {
        const key = `${protocol ?? '?'} ${step}`;
        steps.set(key, (steps.get(key) ?? 0) + 1);
      },
    },
  );
  // the guest's user toggles an option; the host confirms it by TCLO
  rpci.handle('vmx.set_option', ({ args }) => {
    const [name, , value] = args.split(' ');
    if (name === undefined || value === undefined) return refusal('Invalid argument');
    void tclo.command(`Set_Option ${name} ${value}`).catch(() => {});
    return done();
  });
  const isBlock = (call: Registers): boolean =>
    call.ax === MAGIC && (lowHalf(call.dx) === PORT_HIGH || (lowHalf(call.dx) & ~3) === 0);

  const command: Vmx['command'] = (text, limits) => tclo.command(text, limits);
  return Object.assign(reports, {
    host,
    channels,
    rpci,
    tclo,
    steps,
    system: createGuestSystem(),
    command,
    waitForRpc: rpci.wait,
    mark: () => rpci.calls.length,
    backdoor: {
      lowBandwidth: (call: Registers, privileged: boolean) =>
        lowBandwidthCall(host, channels, call, privileged),
      highBandwidthOut: (call: Registers, bytes: Buffer, privileged: boolean) =>
        isBlock(call) ? channels.sendBlock(call, bytes, privileged) : null,
      highBandwidthIn: (call: Registers) => (isBlock(call) ? channels.receiveBlock(call) : null),
      cpuid: (leaf: number, machine: CpuidAnswer) => cpuid(options.cpuid ?? {}, leaf, machine),
    },
    async bringUp({ options: set = {}, event = 'OS_PowerOn' } = {}) {
      await command('reset');
      await command('Capabilities_Register');
      for (const [name, value] of Object.entries(set)) await command(`Set_Option ${name} ${value}`);
      await command(event);
    },
    revert() {
      channels.loseAll();
      reports.forget();
    },
  } satisfies Omit<Vmx, keyof GuestReports>);
}
