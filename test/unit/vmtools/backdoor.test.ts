/** Registers in and out, and whether this is a VMware machine (spec vmware.md section 1). */
import { describe, expect, it } from 'vitest';
import {
  BACKDOOR_PORT,
  BACKDOOR_VMCALL,
  BACKDOOR_VMMCALL,
  type BackdoorInstruction,
} from '../../../src/native/addon.ts';
import {
  type BackdoorNative,
  chooseInstruction,
  probeBackdoor,
} from '../../../src/protocols/vmtools/backdoor.ts';
import { ChannelLost } from '../../../src/protocols/vmtools/channel-errors.ts';

const MAGIC = 0x564d5868;

interface Machine {
  name?: string;
  hypervisor?: boolean;
  maxLeaf?: number;
  features?: number;
}

function cpuidOf({
  name = '',
  hypervisor = name !== '',
  maxLeaf = 0x40000000,
  features = 0,
}: Machine): BackdoorNative['cpuid'] {
  const text = Buffer.alloc(12);
  text.write(name, 'latin1');
  return (leaf) => {
    if (leaf === 1) return [0, 0, hypervisor ? 0x80000000 : 0, 0];
    if (leaf === 0x40000000)
      return [maxLeaf, text.readUInt32LE(0), text.readUInt32LE(4), text.readUInt32LE(8)];
    if (leaf === 0x40000010) return [0, 0, features, 0];
    return [0, 0, 0, 0];
  };
}

describe('1.1 and 1.2: which instruction, by CPUID', () => {
  const vmware = { name: 'VMwareVMware', maxLeaf: 0x40000010 };
  it.each<[string, Machine, BackdoorInstruction | null]>([
    ['bare metal, or hidden', {}, BACKDOOR_PORT],
    ['KVM', { name: 'KVMKVMKVM' }, null],
    ['Xen', { name: 'XenVMMXenVMM' }, null],
    ['no name at all', { hypervisor: true }, BACKDOOR_PORT],
    ['any other name', { name: 'bhyve bhyve ' }, BACKDOOR_PORT],
    ['VMware without the leaf', { name: 'VMwareVMware', features: 3 }, BACKDOOR_PORT],
    ['VMware without hypercalls', vmware, BACKDOOR_PORT],
    ['VMware with VMMCALL', { ...vmware, features: 1 }, BACKDOOR_VMMCALL],
    ['VMware with VMCALL', { ...vmware, features: 2 }, BACKDOOR_VMCALL],
    ['VMware with both', { ...vmware, features: 3 }, BACKDOOR_VMCALL],
    ['the leaf of another', { name: 'Microsoft Hv', maxLeaf: 0x40000010, features: 3 }, BACKDOOR_PORT],
  ])('%s', (_what, machine, instruction) => {
    expect(chooseInstruction({ cpuid: cpuidOf(machine) })).toBe(instruction);
  });
});

/** A native addon that keeps the calls and gives the same registers to each. */
function scriptedNative(machine: Machine, answers: (number[] | false)[]) {
  const calls: string[] = [];
  const hex = (registers: Uint32Array) => [...registers].map((value) => value.toString(16)).join(' ');
  const call = (what: string, registers: Uint32Array) => {
    calls.push(`${what} ${hex(registers)}`);
    const answer = answers.shift() ?? false;
    if (answer === false) return false;
    registers.set(answer);
    return true;
  };
  const native: BackdoorNative = {
    cpuid: cpuidOf(machine),
    backdoorCall: (how, registers) => call(`call ${how}`, registers),
    backdoorRead: (how, registers, target, start, end) => {
      target.fill(0x61, start, end);
      return call(`read ${how} ${end - start}`, registers);
    },
    backdoorWrite: (how, registers, source, start, end) =>
      call(`write ${how} ${Buffer.from(source.subarray(start, end))}`, registers),
    setIoPrivilege: (level) => {
      calls.push(`iopl ${level}`);
      return 0;
    },
  };
  return { native, calls };
}

const version = [6, MAGIC, 2, 0x5658, 0, 0, 0];

describe('1.1: GETVERSION', () => {
  it.each<[string, number[] | false, object | null]>([
    ['ESX', version, { version: 6, product: 2 }],
    ['Workstation', [6, MAGIC, 4, 0, 0, 0, 0], { version: 6, product: 4 }],
    ['a fault', false, null],
    ['another magic', [6, MAGIC + 1, 2, 0, 0, 0, 0], null],
    ['nothing done', [MAGIC, 0xa9b2a797, 10, 0x5658, 0, 0, 0], null],
    ['no version', [0xffffffff, MAGIC, 2, 0, 0, 0, 0], null],
    ['another version', [5, MAGIC, 2, 0, 0, 0, 0], null],
  ])('%s', (_what, answer, identity) => {
    const { native, calls } = scriptedNative({}, [answer]);
    const backdoor = probeBackdoor(native);
    expect(calls).toEqual(['call 0 564d5868 a9b2a797 a 5658 0 0 0']);
    if (identity === null) expect(backdoor).toBeNull();
    else expect(backdoor).toMatchObject(identity);
  });

  it('executes nothing where CPUID names another hypervisor', () => {
    const { native, calls } = scriptedNative({ name: 'KVMKVMKVM' }, [version]);
    expect(probeBackdoor(native)).toBeNull();
    expect(calls).toEqual([]);
  });
});

describe('1.3 and 1.4: register layout', () => {
  const address = { channel: 0xfffe, cookieHigh: 0x11111111, cookieLow: 0x92222222 };
  const done = [MAGIC, 0x0001_0000, 0, 0, 0, 0, 0];
  const calls = (machine: Machine, answer: number[] | false = done) => {
    const { native, calls: made } = scriptedNative(machine, [version, answer, done, done, done]);
    const backdoor = probeBackdoor(native);
    made.length = 0;
    // biome-ignore lint/style/noNonNullAssertion: each machine here answers GETVERSION
    return { backdoor: backdoor!, made };
  };

  it.each<[string, Machine, string, string, string]>([
    [
      'I/O port',
      {},
      'call 0 564d5868 ffffffff 7001e fffe5658 1 ffffffff 0',
      'write 0 text 564d5868 10000 0 fffe5659 0 92222222 11111111',
      'read 0 3 564d5868 10000 0 fffe5659 11111111 0 92222222',
    ],
    [
      'VMCALL',
      { name: 'VMwareVMware', maxLeaf: 0x40000010, features: 2 },
      'call 1 564d5868 ffffffff 7001e fffe0000 1 ffffffff 0',
      'write 1 text 564d5868 10000 0 fffe0003 0 92222222 11111111',
      'read 1 3 564d5868 10000 0 fffe0001 11111111 0 92222222',
    ],
  ])('%s', (_what, machine, low, write, read) => {
    const { backdoor, made } = calls(machine, [0xffffffff, 2, 3, 4, 5, 6, 7]);
    const call = { command: 30, subcommand: 7, bx: 0xffffffff, channel: 0xfffe, si: 1, di: 0xffffffff };
    expect(backdoor.call(call)).toEqual({ ax: 0xffffffff, bx: 2, cx: 3, dx: 4, si: 5, di: 6 });
    expect(backdoor.write(address, Buffer.from('text'))).toBe(1);
    const target = Buffer.alloc(3);
    expect(backdoor.read(address, target)).toBe(1);
    expect(String(target)).toBe('aaa');
    expect(made).toEqual([low, write, read]);
  });

  it('raises the privilege level around each call of the privileged one', () => {
    const { backdoor, made } = calls({});
    backdoor.privileged.call({ command: 1 });
    backdoor.privileged.privileged.write(address, Buffer.from('a'));
    expect(made.map((line) => line.slice(0, 6))).toEqual([
      'iopl 3',
      'call 0',
      'iopl 0',
      'iopl 3',
      'write ',
      'iopl 0',
    ]);
  });

  it('a fault after the probe is a lost channel', () => {
    const { backdoor } = calls({}, false);
    expect(() => backdoor.call({ command: 1 })).toThrow(ChannelLost);
  });
});
