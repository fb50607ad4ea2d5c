/**
 * Both channels by the real instructions under the tracer: the forms of the instruction, payloads word by word and at once, loss
 * and return, vsockets (spec vmware.md sections 1 to 4 and 13).
 */
import { describe, expect, it } from 'vitest';
import { BACKDOOR_PORT, BACKDOOR_VMCALL, BACKDOOR_VMMCALL } from '../../../src/native/addon.ts';
import { STATUS } from '../../hosts/vmx/registers.ts';
import { done } from '../../hosts/vmx/rpci.ts';
import type { VmxOptions } from '../../hosts/vmx/vmx.ts';
import { startVmxBench, type TracedProgram, tracingMissing, type VmxBench } from '../../support/vmx.ts';

const GUEST = new URL('link-process.ts', import.meta.url).pathname;
const LARGE = 60_000;
const TIMEOUT = { timeoutMs: 30_000 };

interface Guest extends AsyncDisposable {
  readonly bench: VmxBench;
  readonly program: TracedProgram;
}

async function startGuest(options: VmxOptions & { vsockets?: boolean } = {}): Promise<Guest> {
  const bench = await startVmxBench(options);
  const { vmx } = bench;
  vmx.rpci.handle('echo', ({ args }) => done(args));
  vmx.rpci.handle('vmx.capability.unified_loop', () => done());
  const program = bench.trace([process.execPath, '--no-warnings', GUEST], { rewrite: ['chr-agent.node'] });
  return { bench, program, [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose]() };
}

/** All that a channel must carry, then an end in order. */
async function exercise({ bench: { vmx }, program }: Guest, large = LARGE): Promise<void> {
  expect(await vmx.command('ping', TIMEOUT)).toMatchObject({ ok: true, text: '' });
  expect(await vmx.command('reset', TIMEOUT)).toMatchObject({ ok: true, text: 'ATR toolbox' });
  expect(await vmx.command('ask echo a  b', TIMEOUT)).toMatchObject({ ok: true, text: 'a  b' });
  expect(await vmx.command(`ask echo ${'q'.repeat(large)}`, TIMEOUT)).toMatchObject({
    text: 'q'.repeat(large),
  });
  expect(await vmx.command(`count ${'\0'.repeat(large)}`, TIMEOUT)).toMatchObject({ text: String(large) });
  expect((await vmx.command(`size ${large}`, TIMEOUT)).text).toHaveLength(large);
  expect(await vmx.command('ask nonsense', TIMEOUT)).toMatchObject({ ok: false, text: 'Internal error' });
  expect(await vmx.command('   ', TIMEOUT)).toMatchObject({ ok: false, text: 'Bad command' });
  program.kill('SIGTERM');
  expect(await program.ended).toBe(0);
  expect(vmx.channels.open()).toEqual([]);
}

describe.skipIf(tracingMissing() !== undefined)('a guest process', () => {
  it.each<[string, VmxOptions, number, number?]>([
    ['by the I/O port', {}, BACKDOOR_PORT],
    ['where the host hides itself', { cpuid: { vendor: null } }, BACKDOOR_PORT],
    ['by VMCALL', { cpuid: { hypercalls: ['vmcall', 'vmmcall'] } }, BACKDOOR_VMCALL],
    ['by VMMCALL', { cpuid: { hypercalls: ['vmmcall'] } }, BACKDOOR_VMMCALL],
    [
      'word by word, without cookies',
      { cookies: false, highBandwidth: (size) => size < 20 },
      BACKDOOR_PORT,
      3_001,
    ],
  ])('%s', async (_what, options, instruction, large) => {
    await using guest = await startGuest(options);
    await exercise(guest, large);
    const lines = guest.program.output().split('\n');
    expect(lines[0]).toBe(`version 6 product 2 instruction ${instruction}`);
    expect(lines).toContain('connected backdoor');
    expect(lines.at(-2)).toBe('ended');
  });

  it('finds no VMware where CPUID names another hypervisor', async () => {
    await using guest = await startGuest({ cpuid: { vendor: 'KVMKVMKVM' } });
    expect(await guest.program.ended).toBe(3);
    expect(guest.bench.link.calls).toBe(0);
  });

  it('asks with raised I/O privilege', async () => {
    await using guest = await startGuest();
    const { vmx } = guest.bench;
    await vmx.command('ask echo', TIMEOUT);
    await vmx.command('reset', TIMEOUT);
    expect(vmx.rpci.calls.map(({ name, privileged }) => [name, privileged])).toEqual([
      ['echo', true],
      ['vmx.capability.unified_loop', false],
    ]);
  });

  it('comes back after a snapshot revert, and after checkpoints in the middle of messages', async () => {
    await using guest = await startGuest();
    const { vmx } = guest.bench;
    await vmx.command('ask echo', TIMEOUT);
    vmx.revert();
    await vmx.command('reset', TIMEOUT);
    for (const step of ['OUTSB', 'INSB', 'RECVSTATUS'] as const)
      for (const protocol of ['RPCI', 'TCLO'] as const)
        vmx.channels.inject({ step, protocol, status: STATUS.CPT, times: 2 });
    expect(vmx.tclo.sessions).toBe(2);
    await exercise(guest);
    expect(vmx.tclo.sessions).toBe(2);
  });

  it('uses vsockets where the host has them', async () => {
    await using guest = await startGuest({ vsockets: true });
    await exercise(guest);
    const { vmx } = guest.bench;
    expect(vmx.steps.size).toBe(0);
    expect(new Set(vmx.rpci.calls.map(({ transport }) => transport))).toEqual(new Set(['vsocket']));
  });
});
