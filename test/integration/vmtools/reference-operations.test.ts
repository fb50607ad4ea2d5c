/**
 * Power operations and clock of Debian's open-vm-tools against the simulator. Clock and shutdown are the tracer's fakes; the
 * scripts are the test's own (vmware.md sections 9 and 10).
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GuestOptions, openVmToolsMissing, startVmxBench, type VmxBench } from '../../support/vmx.ts';

const missing = openVmToolsMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

let bench: VmxBench;
const vmx = () => bench.vmx;
const texts = (from: number) =>
  vmx()
    .rpci.calls.slice(from)
    .map(({ text }) => text);
const reply = async (command: string) => (await vmx().command(command)).bytes.toString();
const QUIET = '[guestinfo]\npoll-interval=0\nstats-interval=0\n';

function daemon(options: GuestOptions): void {
  beforeAll(async () => {
    bench = await startVmxBench();
    bench.startToolsDaemon({ ...options, configuration: `${QUIET}${options.configuration ?? ''}` });
    await vmx().tclo.session();
    await vmx().command('reset');
    await vmx().command('Capabilities_Register');
  });
  afterAll(() => bench[Symbol.asyncDispose]());
}

describe.skipIf(missing !== undefined)('power operations of vmtoolsd (section 9)', () => {
  daemon({
    configuration:
      '[powerops]\npoweron-script=on\npoweroff-script=off\nsuspend-script=suspend\nresume-script=\n',
    scripts: {
      on: '#!/bin/sh\nexit 0\n',
      off: '#!/bin/sh\nsleep 0.3\n',
      suspend: '#!/bin/sh\nexit 3\n',
    },
  });

  /** The operation, up to its status; the RPCs that it made. */
  const operation = async (command: string, status: RegExp): Promise<string[]> => {
    const from = vmx().mark();
    expect(await reply(command)).toBe('OK ');
    await vmx().waitForRpc(status, { from });
    return texts(from);
  };
  const script = (state: string, code: number, success: 0 | 1) => [
    `log Executing script for state change '${state}'.`,
    `log Script exit code: ${code}, success = ${success}`,
  ];

  it('runs the script and tells its success', async () => {
    expect(await operation('OS_PowerOn', /statechange\.status/)).toEqual([
      ...script('OS_PowerOn', 0, 1),
      'tools.os.statechange.status 1 3',
    ]);
  });

  it('tells a failure once; the next try counts as success', async () => {
    const failed = script('OS_Suspend', 3, 0);
    expect(await operation('OS_Suspend', /statechange\.status/)).toEqual([
      ...failed,
      'tools.os.statechange.status 0 5',
    ]);
    expect(await operation('OS_Suspend', /statechange\.status/)).toEqual([
      ...failed,
      'tools.os.statechange.status 1 5',
    ]);
    expect(await operation('OS_Suspend', /statechange\.status/)).toEqual([
      ...failed,
      'tools.os.statechange.status 0 5',
    ]);
  });

  it('forgets a failure when another operation succeeds', async () => {
    // the failure of the test before is not yet made good
    await operation('OS_PowerOn', /statechange\.status/);
    const again = await operation('OS_Suspend', /statechange\.status/);
    expect(again.at(-1)).toBe('tools.os.statechange.status 0 5');
  });

  it('succeeds at once without a script, or with the scripts switched off', async () => {
    expect(await operation('OS_Resume', /statechange\.status/)).toEqual(['tools.os.statechange.status 1 4']);
    await vmx().command('Set_Option toolScripts.beforeSuspend 0');
    expect(await operation('OS_Suspend', /statechange\.status/)).toEqual(['tools.os.statechange.status 1 5']);
    await vmx().command('Set_Option toolScripts.beforeSuspend 1');
  });

  it.each([
    ['OS_Halt', 1, 'halt', '-h'],
    ['OS_Reboot', 2, 'reboot', '-r'],
  ])('%s ends in shutdown', async (command, state, word, flag) => {
    const from = vmx().system.events.length;
    expect(await operation(command, /Initiating/)).toEqual([
      ...script(command, 0, 1),
      `tools.os.statechange.status 1 ${state}`,
      `log Initiating ${word}.`,
    ]);
    const { argv } = await vmx().system.wait('shutdown', () => true, { from });
    expect(argv).toEqual(['/sbin/shutdown', flag, 'now']);
  });

  it('does one at a time', async () => {
    const from = vmx().mark();
    expect(await reply('OS_Halt')).toBe('OK ');
    expect(await reply('OS_Reboot')).toBe('ERROR State change already in progress');
    await vmx().waitForRpc(/Initiating halt/, { from });
  });
});

const HOUR_MS = 3_600_000;
const hostAhead = (ms: number) => {
  vmx().host.clock.nowUs = () => BigInt(Date.now() + ms) * 1000n;
};
/** How far the clock was set, ms; null: it was left alone. */
const stepped = async (command: string): Promise<number | null> => {
  const from = vmx().system.events.length;
  expect(await reply(command)).toBe('OK ');
  const set = vmx()
    .system.events.slice(from)
    .find((event) => event.kind === 'clock-set');
  return set === undefined ? null : Number(set.us / 1000n) - Date.now();
};
const about = (ms: number) => expect.closeTo(ms, -4);

describe.skipIf(missing !== undefined)('clock of vmtoolsd at its start (section 5)', () => {
  daemon({});

  it('steps back only if the host wants that too', async () => {
    vmx().host.clock.maxLagUs = 100_000;
    hostAhead(-HOUR_MS);
    expect(await stepped('Set_Option time.synchronize.tools.startup.backward 1')).toBe(null);
    expect(await stepped('Set_Option time.synchronize.tools.startup 1')).toEqual(about(-HOUR_MS));
  });
});

describe.skipIf(missing !== undefined)('clock of vmtoolsd (section 10)', () => {
  daemon({});

  beforeAll(() => {
    vmx().host.clock.maxLagUs = 100_000;
  });

  it('steps once at the start, if the host wants it', async () => {
    hostAhead(HOUR_MS);
    expect(await stepped('Set_Option time.synchronize.tools.startup 1')).toEqual(about(HOUR_MS));
    expect(await stepped('Set_Option time.synchronize.tools.startup 1')).toBe(null);
    await vmx().command('reset');
    expect(await stepped('Set_Option time.synchronize.tools.startup 1')).toBe(null);
  });

  it.each([
    ['0', HOUR_MS, about(HOUR_MS)],
    ['0', -HOUR_MS, null],
    ['0', 50, null],
    ['0', -6000, null],
    ['1', -HOUR_MS, about(-HOUR_MS)],
    ['1', HOUR_MS, about(HOUR_MS)],
  ])('Time_Synchronize %s with the host %i ms ahead', async (backward, ahead, expected) => {
    hostAhead(ahead);
    const before = vmx().host.stopCatchUps;
    expect(await stepped(`Time_Synchronize ${backward}`)).toEqual(expected);
    expect(vmx().host.stopCatchUps - before).toBe(expected === null ? 0 : 1);
  });

  it.each(['GETTIMEFULL', 'GETTIME'] as const)(
    'reads the host by %s where it knows no better',
    async (newest) => {
      vmx().host.clock.newest = newest;
      hostAhead(HOUR_MS);
      expect(await stepped('Time_Synchronize 0')).toEqual(about(HOUR_MS));
      vmx().host.clock.newest = 'GETTIMEFULL_WITH_LAG';
    },
  );

  it('steps forward at once when the periodic synchronisation begins, and slews a small error', async () => {
    await vmx().command('Set_Option synctime.period 1');
    hostAhead(HOUR_MS);
    let from = vmx().system.events.length;
    await vmx().command('Set_Option synctime 1');
    await vmx().system.wait('clock-set', () => true, { from });

    hostAhead(-200);
    await vmx().command('Set_Option time.synchronize.tools.slewCorrection 1');
    from = vmx().system.events.length;
    // half of 200 ms in a period of 1 s would be more than the kernel's 10 % of the tick
    await vmx().system.wait('clock-adjusted', ({ tick }) => tick === 9000n, { from });

    from = vmx().system.events.length;
    await vmx().command('Set_Option synctime 0');
    await vmx().system.wait('clock-adjusted', ({ tick }) => tick === 10000n, { from });
    expect(
      vmx()
        .system.events.slice(from)
        .some(({ kind }) => kind === 'clock-set'),
    ).toBe(false);
  });
});
