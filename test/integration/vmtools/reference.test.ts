/**
 * The simulated VMware host against the real guest: Debian's open-vm-tools under the tracer. What is checked here is what the
 * simulator may be trusted with: channels, session, commands. 'Seen with open-vm-tools 12.2' marks what the specification
 * (vmware.md) has otherwise or not at all.
 */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { STATUS } from '../../hosts/vmx/registers.ts';
import type { VmxOptions } from '../../hosts/vmx/vmx.ts';
import { openVmToolsMissing, startVmxBench, type TracedProgram, type VmxBench } from '../../support/vmx.ts';

const missing = openVmToolsMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

/** Nothing but what the test asks for. */
const QUIET = '[guestinfo]\npoll-interval=0\nstats-interval=0\n';

describe.skipIf(missing !== undefined)('vmware-rpctool', () => {
  let bench: VmxBench;
  beforeAll(async () => {
    bench = await startVmxBench();
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  it.each([
    ['info-get guestinfo.x', 0, 'a value\n'],
    ['info-get guestinfo.none', 1, 'No value found\n'],
    ['info-set guestinfo.y b  c ', 0, '\n'],
    ['machine.id.get', 1, 'No machine id\n'],
    ['no.such.call', 1, 'Unknown command\n'],
  ])('%s', async (request, status, output) => {
    bench.vmx.variables.set('guestinfo.x', 'a value');
    const from = bench.vmx.mark();
    expect(await bench.rpctool(request)).toEqual({ status, output });
    // no NUL, one channel that is closed again
    expect(bench.vmx.rpci.calls.slice(from)).toMatchObject([{ text: request, endsWithNul: false }]);
    expect(bench.vmx.channels.open()).toEqual([]);
  });

  it.each([
    ['a host without cookies', { cookies: false }],
    ['a host without the high-bandwidth port', { highBandwidth: () => false }],
    ['a hidden hypervisor', { cpuid: { vendor: null } }],
    ['an unknown hypervisor', { cpuid: { vendor: 'SomethingNew' } }],
    ['VMCALL', { cpuid: { hypercalls: ['vmcall', 'vmmcall'] } }],
    ['VMMCALL', { cpuid: { hypercalls: ['vmmcall'] } }],
  ] as [string, VmxOptions][])('by way of %s', async (_name, options) => {
    await using other = await startVmxBench(options);
    other.vmx.variables.set('guestinfo.x', 'v'.repeat(1001));
    const { status, output } = await other.rpctool('info-get guestinfo.x');
    expect({ status, output }).toEqual({ status: 0, output: `${'v'.repeat(1001)}\n` });
    expect(other.vmx.steps.has('RPCI INSB')).toBe(options.highBandwidth === undefined);
  });

  it('asks nobody under another known hypervisor', async () => {
    await using other = await startVmxBench({ cpuid: { vendor: 'KVMKVMKVM' } });
    expect((await other.rpctool('machine.id.get')).status).not.toBe(0);
    expect(other.link.calls).toBe(0);
  });
});

describe.skipIf(missing !== undefined)('vmtoolsd', () => {
  let bench: VmxBench;
  let daemon: TracedProgram;
  const vmx = () => bench.vmx;

  const texts = (from: number) =>
    vmx()
      .rpci.calls.slice(from)
      .map(({ text }) => text);
  const openings = () => vmx().steps.get('RPCI OPEN');

  beforeAll(async () => {
    bench = await startVmxBench();
    daemon = bench.startToolsDaemon({ configuration: QUIET });
    await vmx().tclo.session();
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  it('tells its version at the start (section 6.1)', async () => {
    await vmx().waitForRpc(/guestinfo\.vmtools\.buildNumber/);
    const [description, versionString, versionNumber, buildNumber] = vmx().rpci.calls.map(
      ({ bytes }) => `${bytes}`,
    );
    expect(description).toMatch(
      /^info-set guestinfo\.vmtools\.description open-vm-tools [\d.]+ build \d+\0$/,
    );
    expect(buildNumber).toMatch(/^info-set guestinfo\.vmtools\.buildNumber \d+\0$/);
    const [, major, minor, patch] = /versionString (\d+)\.(\d+)\.(\d+)\0$/.exec(versionString ?? '') ?? [];
    const number = Number(major) * 1024 + Number(minor) * 32 + Number(patch);
    expect(versionNumber).toBe(`info-set guestinfo.vmtools.versionNumber ${number}\0`);
    expect(vmx().channels.open()).toEqual([
      { id: 0, protocol: 'TCLO' },
      { id: 1, protocol: 'RPCI' },
    ]);
  });

  it('answers a reset, once with its version (section 4.2)', async () => {
    let from = vmx().mark();
    expect((await vmx().command('reset')).bytes.toString()).toBe('OK ATR toolbox');
    expect(texts(from)).toEqual([
      'vmx.capability.unified_loop toolbox',
      expect.stringMatching(/^log toolbox: Version: 12\.2\.0\.\d+ \(build-\d+\)$/),
    ]);
    from = vmx().mark();
    await vmx().command('reset');
    expect(texts(from)).toEqual(['vmx.capability.unified_loop toolbox']);
  });

  it('registers its capabilities before it answers (section 6.2)', async () => {
    const from = vmx().mark();
    expect((await vmx().command('Capabilities_Register')).bytes.toString()).toBe('OK ');
    expect(
      vmx()
        .rpci.calls.slice(from)
        .map(({ bytes }) => bytes.toString()),
    ).toEqual([
      'tools.capability.hgfs_server toolbox 1\0',
      expect.stringMatching(/^SetGuestInfo {2}7 \d+\0$/),
      'tools.capability.statechange ',
      'tools.capability.softpowerop_retry ',
      'tools.capability.features 36=0\0',
      'tools.capability.guest_conf_directory /etc/vmware-tools\0',
      'tools.set.versiontype 12352 4\0',
    ]);
  });

  it('falls back to the older version call', async () => {
    vmx().rpci.refuse({ request: 'tools.set.versiontype', times: 1 });
    const from = vmx().mark();
    await vmx().command('Capabilities_Register');
    expect(texts(from).at(-1)).toBe('tools.set.version 2147483647');
  });

  it.each([
    ['ping', 'OK '],
    ['Set_Option synctime 0', 'OK '],
    ['Set_Option synctime maybe', 'OK '],
    ['Set_Option no.such.option 1', 'OK '],
    ['Set_Option', 'ERROR Unknown or invalid option'],
    ['no_such_command', 'ERROR Unknown Command'],
    ['PING', 'ERROR Unknown Command'],
    ['   ', 'ERROR Bad command'],
    ['Time_Synchronize', 'ERROR Unable to tokenize TimeSync RPC data'],
    ['vmbackup.abort', 'ERROR Error: no quiesce operation in progress'],
    ['vmbackup.snapshotDone', 'ERROR Error: no quiesce operation in progress'],
    ['vmbackup.startWithOpts abc', 'ERROR XDR deserialization failed.'],
    // the stock script is not there
    ['OS_Resume', 'ERROR Error starting script'],
  ])('%j → %j', async (command, reply) => {
    expect((await vmx().command(command)).bytes.toString()).toBe(reply);
  });

  it('tells the failure of an operation whose script is missing (section 9)', () => {
    expect(vmx().powerStatuses).toEqual([{ success: false, state: 4 }]);
  });

  it('tells its address when asked (section 5)', async () => {
    const from = vmx().mark();
    expect((await vmx().command('Set_Option broadcastIP 1')).ok).toBe(true);
    expect(texts(from)).toEqual(['info-set guestinfo.ip 192.0.2.10']);
  });

  it('polls at once after a command, then at 10, 20, 40, 80, 100 ms (section 4.1)', async () => {
    const rounds: number[][] = [];
    for (let round = 0; round < 3; round += 1) {
      await vmx().command('ping');
      const from = vmx().tclo.pollsMs.length;
      await expect.poll(() => vmx().tclo.pollsMs.length - from, { timeout: 15_000 }).toBeGreaterThan(7);
      const polls = vmx().tclo.pollsMs.slice(from, from + 8);
      rounds.push(polls.slice(1).map((at, i) => at - (polls[i] ?? at)));
    }
    const median = (index: number) => rounds.map((gaps) => gaps[index] ?? 0).sort((a, b) => a - b)[1] ?? 0;
    // never earlier than that; how much later is the machine's business
    for (const [index, gapMs] of [10, 20, 40, 80, 100, 100, 100].entries())
      expect(median(index), `gap ${index}`).toBeGreaterThan(gapMs * 0.8);
  });

  describe('after a checkpoint (section 2)', () => {
    it.each([
      ['RPCI', 'OUTSB'],
      ['RPCI', 'INSB'],
      ['RPCI', 'RECVSTATUS'],
      ['TCLO', 'OUTSB'],
      ['TCLO', 'INSB'],
      ['TCLO', 'RECVSTATUS'],
    ] as const)('%s %s: starts the message again, on the same channel', async (protocol, step) => {
      const before = openings();
      const from = vmx().mark();
      vmx().channels.inject({ protocol, step, status: STATUS.CPT });
      expect((await vmx().command('Set_Option broadcastIP 1')).ok).toBe(true);
      expect(texts(from)).toEqual(['info-set guestinfo.ip 192.0.2.10']);
      expect(openings()).toBe(before);
      expect(vmx().tclo.sessions).toBe(1);
    });
  });

  describe('after a failure without a checkpoint', () => {
    // a failure after the request has reached the host: the host sees it twice
    it.each([
      ['SENDSIZE', 1],
      ['OUTSB', 1],
      ['RECVSIZE', 2],
      ['RECVSTATUS', 2],
    ] as const)('RPCI %s: opens another channel and asks again, seen %i times', async (step, times) => {
      const before = openings() ?? 0;
      const from = vmx().mark();
      vmx().channels.inject({ protocol: 'RPCI', step, status: 0 });
      expect((await vmx().command('Set_Option broadcastIP 1')).ok).toBe(true);
      expect(texts(from)).toEqual(Array(times).fill('info-set guestinfo.ip 192.0.2.10'));
      expect(openings()).toBeGreaterThan(before);
      expect(vmx().channels.open()).toHaveLength(2);
    });

    it('TCLO: opens another channel after a second', async () => {
      const began = performance.now();
      vmx().channels.inject({ protocol: 'TCLO', step: 'SENDSIZE', status: 0 });
      await vmx().tclo.session(2);
      expect(performance.now() - began).toBeGreaterThan(800);
      expect((await vmx().command('ping')).ok).toBe(true);
    });

    it('takes part again after a revert of the machine', async () => {
      vmx().revert();
      await vmx().tclo.session(3);
      await vmx().bringUp();
      expect(vmx().channels.open()).toHaveLength(2);
      expect(vmx().capabilities.get('tools.set.versiontype')).toBe('12352 4');
    });
  });

  it('has asked nothing that the host does not know', () => {
    const unknown = vmx().rpci.calls.filter(({ reply }) => !reply.ok && reply.value === 'Unknown command');
    expect(unknown).toEqual([]);
  });

  it('takes leave (section 6.2)', async () => {
    const from = vmx().mark();
    daemon.kill('SIGTERM');
    expect(await daemon.ended).toBe(0);
    expect(texts(from)).toEqual([
      'tools.capability.hgfs_server toolbox 0',
      'tools.capability.features 36=0',
      'info-set guestinfo.appInfo ',
    ]);
    expect(vmx().channels.open()).toEqual([]);
  });
});

describe.skipIf(missing !== undefined)('a vmtoolsd that is killed', () => {
  it('leaves its channels open', async () => {
    await using bench = await startVmxBench();
    const daemon = bench.startToolsDaemon({ configuration: QUIET });
    await bench.vmx.tclo.session();
    await bench.vmx.waitForRpc(/buildNumber/);
    await daemon.destroy();
    expect(bench.vmx.channels.open().map(({ protocol }) => protocol)).toEqual(['TCLO', 'RPCI']);
  });
});

// it asks /dev/vsock for its address before it binds
const noVsockets = missing !== undefined || !existsSync('/dev/vsock');

describe.skipIf(noVsockets)('vmtoolsd over vsockets (section 13)', () => {
  it('uses nothing else where the host offers them', async () => {
    await using bench = await startVmxBench({ vsockets: true });
    const { vmx } = bench;
    bench.startToolsDaemon({ configuration: QUIET });
    await vmx.tclo.session();
    await vmx.bringUp();
    expect((await vmx.command('ping')).bytes.toString()).toBe('OK ');
    expect(new Set(vmx.rpci.calls.map(({ transport }) => transport))).toEqual(new Set(['vsocket']));
    expect([...vmx.steps]).toEqual([]);
    // a low local port makes the connection privileged
    expect(vmx.system.events).toContainEqual({
      kind: 'vsocket-bind',
      pid: expect.any(Number),
      port: 1023,
      cid: expect.any(Number),
    });
    await expect.poll(() => bench.vsockets?.pingsMs.length, { timeout: 15_000 }).toBeGreaterThan(1);
  });

  it('comes back when the host drops the connection', async () => {
    await using bench = await startVmxBench({ vsockets: true });
    const { vmx } = bench;
    bench.startToolsDaemon({ configuration: QUIET });
    await vmx.tclo.session();
    bench.vsockets?.drop(975);
    await vmx.tclo.session(2);
    expect((await vmx.command('ping')).ok).toBe(true);
    expect([...vmx.steps]).toEqual([]);
  });
});
