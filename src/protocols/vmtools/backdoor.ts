/**
 * The backdoor as TypeScript sees it: registers in, registers out. Whether this is a VMware machine, which instruction is used
 * and where the fields lie: spec vmware.md section 1.
 */
import {
  BACKDOOR_PORT,
  BACKDOOR_VMCALL,
  BACKDOOR_VMMCALL,
  type BackdoorInstruction,
  type NativeAddon,
} from '../../native/addon.ts';
import { ChannelLost } from './channel-errors.ts';

/** The part of the native addon that reaches the host; a simulated host stands in for it in tests. */
export type BackdoorNative = Pick<
  NativeAddon,
  'cpuid' | 'backdoorCall' | 'backdoorRead' | 'backdoorWrite' | 'setIoPrivilege'
>;

/** One low-bandwidth call; what is left out is 0. All are unsigned, `subcommand` and `channel` 16 bits, the rest 32. */
export interface BackdoorCall {
  readonly command: number;
  /** High half of ECX. */
  readonly subcommand?: number;
  readonly bx?: number;
  /** High half of EDX. */
  readonly channel?: number;
  readonly si?: number;
  readonly di?: number;
}

/** The registers afterwards, unsigned 32 bits each. */
export interface BackdoorResult {
  readonly ax: number;
  readonly bx: number;
  readonly cx: number;
  readonly dx: number;
  readonly si: number;
  readonly di: number;
}

/** A message channel's address in high-bandwidth calls. */
export interface ChannelAddress {
  /** 16 bits. */
  readonly channel: number;
  /** ESI and EDI of OPEN. */
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

/** The calls are synchronous and take microseconds. They throw ChannelLost if the instruction faults, unlike at the probe. */
export interface Backdoor {
  /** As GETVERSION told. */
  readonly version: number;
  /** 1 Express, 2 ESX, 3 GSX/Server, 4 Workstation/Fusion; another number where the host does not say. */
  readonly product: number;
  readonly instruction: BackdoorInstruction;
  call(call: BackdoorCall): BackdoorResult;
  /** Moves a whole payload to the host. @returns the status bits (high half of EBX) */
  write(address: ChannelAddress, source: Buffer): number;
  /** Fills `target` with the payload that the host has. @returns the status bits */
  read(address: ChannelAddress, target: Buffer): number;
  /** The same backdoor at I/O privilege level 3 for the time of each call. */
  readonly privileged: Backdoor;
}

const MAGIC = 0x564d5868;
const LOW_PORT = 0x5658;
const HIGH_PORT = 0x5659;
/** Bits of a hypercall's DX. */
const HYPERCALL_HIGH = 1;
const HYPERCALL_WRITE = 2;
/** EBX of a high-bandwidth call for a message's payload. */
const HIGH_MESSAGE = 0x0001_0000;

export const COMMAND = {
  getVersion: 10,
  getGuiOptions: 13,
  getTime: 23,
  stopCatchup: 24,
  message: 30,
  getTimeFull: 46,
  getTimeFullWithLag: 55,
} as const;

const VERSION = 6;
const NO_VERSION = 0xffffffff;
/** Hypervisors that are certainly others. A VMware machine can hide its name, so an unknown one means nothing. */
const OTHERS = ['KVMKVMKVM', 'XenVMMXenVMM'];

/** The way to this machine's host; null if it is none of VMware's. Safe everywhere. */
export function probeBackdoor(native: BackdoorNative): Backdoor | null {
  const instruction = chooseInstruction(native);
  if (instruction === null) return null;
  const registers = lowRegisters(instruction, { command: COMMAND.getVersion, bx: ~MAGIC });
  if (!native.backdoorCall(instruction, registers)) return null;
  const { ax, bx, cx } = result(registers);
  if (bx !== MAGIC || ax === NO_VERSION || ax !== VERSION) return null;
  const identity = { version: ax, product: cx };
  const plain = makeBackdoor(native, instruction, identity);
  return { ...plain, privileged: makeBackdoor(raised(native), instruction, identity) };
}

/** By CPUID alone; null: certainly not VMware. */
export function chooseInstruction(native: Pick<NativeAddon, 'cpuid'>): BackdoorInstruction | null {
  const isHypervisor = (native.cpuid(1, 0)[2] & 0x8000_0000) !== 0;
  if (!isHypervisor) return BACKDOOR_PORT;
  const [maxLeaf, ...words] = native.cpuid(0x4000_0000, 0);
  const name = Buffer.alloc(12);
  for (const [index, word] of words.entries()) name.writeUInt32LE(word >>> 0, index * 4);
  const text = name.toString('latin1').replace(/\0+$/, '');
  if (OTHERS.includes(text)) return null;
  if (text !== 'VMwareVMware' || maxLeaf < 0x4000_0010) return BACKDOOR_PORT;
  const features = native.cpuid(0x4000_0010, 0)[2];
  if (features & 2) return BACKDOOR_VMCALL;
  return features & 1 ? BACKDOOR_VMMCALL : BACKDOOR_PORT;
}

function makeBackdoor(
  native: BackdoorNative,
  instruction: BackdoorInstruction,
  identity: Pick<Backdoor, 'version' | 'product'>,
): Backdoor {
  const isPort = instruction === BACKDOOR_PORT;
  const self: Backdoor = {
    ...identity,
    instruction,
    call(call) {
      const registers = lowRegisters(instruction, call);
      expectNoFault(native.backdoorCall(instruction, registers));
      return result(registers);
    },
    write({ channel, cookieHigh, cookieLow }, source) {
      const dx = isPort ? HIGH_PORT : HYPERCALL_HIGH | HYPERCALL_WRITE;
      // the half whose register holds the address moves to EBP (spec section 1.4)
      const registers = highRegisters(dx, channel, { si: 0, di: cookieLow, bp: cookieHigh });
      expectNoFault(native.backdoorWrite(instruction, registers, source, 0, source.length));
      return result(registers).bx >>> 16;
    },
    read({ channel, cookieHigh, cookieLow }, target) {
      const dx = isPort ? HIGH_PORT : HYPERCALL_HIGH;
      const registers = highRegisters(dx, channel, { si: cookieHigh, di: 0, bp: cookieLow });
      expectNoFault(native.backdoorRead(instruction, registers, target, 0, target.length));
      return result(registers).bx >>> 16;
    },
    get privileged() {
      return self;
    },
  };
  return self;
}

function lowRegisters(instruction: BackdoorInstruction, call: BackdoorCall): Uint32Array {
  const { command, subcommand = 0, bx = 0, channel = 0, si = 0, di = 0 } = call;
  const port = instruction === BACKDOOR_PORT ? LOW_PORT : 0;
  // stored modulo 2^32, so the signs of `<<` and `~` do not matter
  return Uint32Array.of(MAGIC, bx, (subcommand << 16) | command, (channel << 16) | port, si, di, 0);
}

function highRegisters(
  dx: number,
  channel: number,
  rest: { si: number; di: number; bp: number },
): Uint32Array {
  return Uint32Array.of(MAGIC, HIGH_MESSAGE, 0, (channel << 16) | dx, rest.si, rest.di, rest.bp);
}

function result(registers: Uint32Array): BackdoorResult {
  const [ax = 0, bx = 0, cx = 0, dx = 0, si = 0, di = 0] = registers;
  return { ax, bx, cx, dx, si, di };
}

function expectNoFault(worked: boolean): void {
  if (!worked) throw new ChannelLost('send', 'the backdoor is closed');
}

/** The privilege counts at the moment of the fault (spec section 8), so it is raised for each call and lowered after it. */
function raised(native: BackdoorNative): BackdoorNative {
  const at3 = (call: () => boolean) => {
    const isRaised = native.setIoPrivilege(3) >= 0;
    try {
      return call();
    } finally {
      if (isRaised) native.setIoPrivilege(0);
    }
  };
  return {
    cpuid: native.cpuid,
    setIoPrivilege: native.setIoPrivilege,
    backdoorCall: (...all) => at3(() => native.backdoorCall(...all)),
    backdoorRead: (...all) => at3(() => native.backdoorRead(...all)),
    backdoorWrite: (...all) => at3(() => native.backdoorWrite(...all)),
  };
}
