import { describe, expect, it } from 'vitest';
import { GeneralProtectionFault, inProcessBackdoor } from '../../hosts/vmx/in-process.ts';
import { COMMAND, halves, MAGIC, PORT_HIGH, UNKNOWN_COMMAND } from '../../hosts/vmx/registers.ts';
import { createVmx } from '../../hosts/vmx/vmx.ts';
import { EMPTY } from './channel-user.ts';

const NOW_US = (1_790_000_000n + (3n << 32n)) * 1_000_000n + 250_000n;

function host() {
  const vmx = createVmx();
  const { lowBandwidth } = inProcessBackdoor(vmx);
  return { vmx, call: (command: number, bx = 0) => lowBandwidth({ ...EMPTY, cx: command, bx }) };
}

describe('backdoor calls (section 1.3)', () => {
  it('tells its version', () => {
    expect(host().call(COMMAND.GETVERSION, 0xa9b2a797)).toMatchObject({ ax: 6, bx: MAGIC, cx: 2 });
  });

  it('leaves -1 for what it does not know', () => {
    expect(host().call(99).ax).toBe(UNKNOWN_COMMAND);
  });

  it.each([
    ['another magic', { ax: 1 }],
    ['another port', { dx: 0x1234 }],
  ])('faults for %s', (_name, wrong) => {
    const { lowBandwidth } = inProcessBackdoor(createVmx());
    expect(() => lowBandwidth({ ...EMPTY, cx: COMMAND.GETVERSION, ...wrong })).toThrow(
      GeneralProtectionFault,
    );
  });

  it('faults for a high-bandwidth call on another port', () => {
    const { highBandwidthIn, highBandwidthOut } = inProcessBackdoor(createVmx());
    const elsewhere = { ...EMPTY, dx: 0x1234 };
    expect(() => highBandwidthIn(elsewhere)).toThrow(GeneralProtectionFault);
    expect(() => highBandwidthOut(elsewhere, Buffer.alloc(1))).toThrow(GeneralProtectionFault);
    expect(highBandwidthIn({ ...EMPTY, dx: halves(7, PORT_HIGH) }).registers.bx).toBe(0);
  });

  it('keeps the option of time synchronisation', () => {
    const { vmx, call } = host();
    expect(call(COMMAND.GETGUIOPTIONS).ax).toBe(0);
    call(COMMAND.SETGUIOPTIONS, 0x400);
    expect(vmx.host.timeSync).toBe(true);
    expect(call(COMMAND.GETGUIOPTIONS).ax).toBe(0x400);
  });
});

describe('the host clock (section 10)', () => {
  it('is whole, with the lag, by the newest command', () => {
    const { vmx, call } = host();
    Object.assign(vmx.host.clock, { nowUs: () => NOW_US, maxLagUs: 500, lagUs: 70 });
    expect(call(COMMAND.GETTIMEFULL_WITH_LAG)).toMatchObject({
      ax: MAGIC,
      bx: 250_000,
      cx: 500,
      dx: 1_790_000_000,
      si: 3,
      di: 70,
    });
    expect(call(COMMAND.GETTIMEFULL)).toMatchObject({ ax: MAGIC, bx: 250_000, si: 3, di: 0 });
    expect(call(COMMAND.GETTIME)).toMatchObject({ ax: 1_790_000_000, bx: 250_000, cx: 500 });
    call(COMMAND.STOPCATCHUP);
    expect(vmx.host.stopCatchUps).toBe(1);
  });

  it.each([
    ['GETTIMEFULL', [false, true, true]],
    ['GETTIME', [false, false, true]],
    [null, [false, false, false]],
  ] as const)('of a host that knows %s at best', (newest, known) => {
    const { vmx, call } = host();
    vmx.host.clock.newest = newest;
    const commands = [COMMAND.GETTIMEFULL_WITH_LAG, COMMAND.GETTIMEFULL, COMMAND.GETTIME];
    expect(commands.map((command) => call(command).ax !== UNKNOWN_COMMAND)).toEqual(known);
  });
});

describe('CPUID (section 1.1)', () => {
  const machine = { eax: 1, ebx: 2, ecx: 3, edx: 4 };

  it('names VMware', () => {
    const { backdoor } = createVmx();
    expect(backdoor.cpuid(1, machine).ecx).toBe(0x80000003);
    const { ebx, ecx, edx } = backdoor.cpuid(0x40000000, machine);
    const name = Buffer.alloc(12);
    for (const [i, word] of [ebx, ecx, edx].entries()) name.writeUInt32LE(word, i * 4);
    expect(name.toString()).toBe('VMwareVMware');
    expect(backdoor.cpuid(2, machine)).toEqual(machine);
  });

  it('offers hypercalls, or hides the hypervisor', () => {
    const offers = createVmx({ cpuid: { hypercalls: ['vmcall', 'vmmcall'] } });
    expect(offers.backdoor.cpuid(0x40000010, machine).ecx).toBe(3);
    const hidden = createVmx({ cpuid: { vendor: null } });
    expect(hidden.backdoor.cpuid(1, { ...machine, ecx: -1 }).ecx).toBe(0x7fffffff);
    expect(hidden.backdoor.cpuid(0x40000000, machine)).toEqual(machine);
  });
});
