/**
 * Guest information of the daemon and of open-vm-tools, side by side in namespaces that look the same: what the host knows must be
 * the same (spec vmware.md section 6; chr-wiki.txt, "Guest info").
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeNicsV1 } from '../../hosts/vmx/codecs/nics-v1.ts';
import { GUEST_INFO } from '../../hosts/vmx/guest-reports.ts';
import type { Vmx } from '../../hosts/vmx/vmx.ts';
import { openVmToolsMissing, startVmxBench, tracingMissing, type VmxBench } from '../../support/vmx.ts';

const MAIN = new URL('../../../src/agent/main.ts', import.meta.url).pathname;
const TIMEOUT = { timeoutMs: 45_000 };
const NETWORK = [
  'link set lo up',
  'link add nic0 address 02:00:5e:00:53:01 type veth peer name far0 address 02:00:5e:00:53:02',
  'link add lan0 address 02:00:5e:00:53:03 type veth peer name lan1 address 02:00:5e:00:53:04',
  ...['nic0', 'far0', 'lan0', 'lan1'].flatMap((name) => [
    `link set ${name} addrgenmode none`,
    `link set ${name} up`,
  ]),
  'address add 192.0.2.10/24 dev nic0',
  'address add 192.0.2.11/24 dev nic0',
  'address add 2001:db8::10/64 dev nic0 nodad',
  'address add 198.51.100.1/30 dev lan0',
  'address add 203.0.113.1/32 dev lan1',
  'route add default via 192.0.2.1',
  'route add 10.0.0.0/8 via 198.51.100.2 metric 7',
  '-6 route add default via 2001:db8::1',
];
const TOOLS_CONF = '[guestinfo]\npoll-interval=1\nstats-interval=1\n';

const missing = tracingMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

/** What is written there is done once. */
const administratorScript = ({ directory }: VmxBench) => join(directory, 'administrator.sh');

async function startDaemon(compat: 'chr' | 'upstream'): Promise<VmxBench> {
  const bench = await startVmxBench();
  const path = join(bench.directory, 'agent.toml');
  const off = ['qemu-ga', 'xenstore', 'shaper'].map((name) => `[${name}]\nenabled = false\n`).join('');
  writeFileSync(
    path,
    `[agent]\nruntime-dir = "${bench.directory}/run"\nstate-dir = "${bench.directory}/state"\n${off}` +
      `[vmtools]\nenabled = true\ncompat = "${compat}"\n`,
  );
  // the guest's administrator, in the same namespaces
  const administrator = `while ! [ -s "$0" ]; do sleep 0.1; done; . "$0"`;
  const command = `(${administrator}) & exec "$@"`;
  const daemon = [process.execPath, '--no-warnings', MAIN, 'run', '--config', path];
  bench.startInGuest(['sh', '-c', command, administratorScript(bench), ...daemon], {
    configuration: TOOLS_CONF,
    network: NETWORK,
    rewrite: ['chr-agent.node'],
  });
  await bench.vmx.tclo.session(1, TIMEOUT.timeoutMs);
  return bench;
}

const uptime = (vmx: Vmx, from: number) => vmx.waitForRpc(/^SetGuestInfo {2}7 /, { from, ...TIMEOUT });

/** Kinds of report since then, without the statistics. */
const kinds = (vmx: Vmx, from: number) =>
  vmx.rpci.calls.slice(from).flatMap(({ text }) => {
    const type = text.startsWith('SetGuestDiskInfo') ? 'disks' : /^SetGuestInfo {2}(\d+)/.exec(text)?.[1];
    return type === undefined || type === '8' ? [] : [type];
  });

describe.skipIf(openVmToolsMissing() !== undefined)('upstream, beside open-vm-tools', () => {
  let theirs: VmxBench;
  let ours: VmxBench;
  beforeAll(async () => {
    theirs = await startVmxBench();
    theirs.startToolsDaemon({ configuration: TOOLS_CONF, network: NETWORK });
    await theirs.vmx.tclo.session(1, TIMEOUT.timeoutMs);
    ours = await startDaemon('upstream');
    for (const { vmx } of [theirs, ours]) {
      await vmx.command('reset', TIMEOUT);
      const from = vmx.mark();
      await uptime(vmx, from);
      // the first of the timers may have come before
      if (!kinds(vmx, from).includes('10')) await uptime(vmx, vmx.mark());
    }
  });
  afterAll(async () => {
    await theirs?.[Symbol.asyncDispose]();
    await ours?.[Symbol.asyncDispose]();
  });

  it('the network, byte by byte', () => {
    const value = ({ vmx }: VmxBench) => vmx.guestInfo.values.get(GUEST_INFO.NICS_V3);
    expect(ours.vmx.guestInfo.nics()).toEqual(theirs.vmx.guestInfo.nics());
    expect(value(ours)?.toString('hex')).toBe(value(theirs)?.toString('hex'));
  });

  it('the system, byte by byte', () => {
    const value = ({ vmx }: VmxBench) => vmx.guestInfo.values.get(GUEST_INFO.OS_DETAILS);
    expect(ours.vmx.guestInfo.osDetails()).toEqual(theirs.vmx.guestInfo.osDetails());
    expect(value(ours)?.toString('hex')).toBe(value(theirs)?.toString('hex'));
  });

  it('the name', () => {
    const [name, other] = [ours, theirs].map(({ vmx }) => vmx.guestInfo.text(GUEST_INFO.DNS_NAME));
    expect(name).toBe(other);
  });

  it('the root file system', () => {
    const root = ({ vmx }: VmxBench) => vmx.guestInfo.disks()?.find(({ name }) => name === '/');
    const { freeBytes, ...fixed } = root(ours) ?? {};
    const { freeBytes: theirFree, ...theirFixed } = root(theirs) ?? {};
    expect(fixed).toEqual(theirFixed);
    expect(Number(freeBytes) / Number(theirFree)).toBeCloseTo(1, 1);
  });

  it('the statistics: the same items, and the same memory', async () => {
    for (const { vmx } of [theirs, ours])
      await vmx.waitForRpc(/^SetGuestInfo {2}8 /, { from: vmx.mark(), ...TIMEOUT });
    const [own, other] = [ours, theirs].map(({ vmx }) => vmx.guestInfo.statistics());
    const forms = (statistics: typeof own) =>
      statistics?.items.map(({ id, valueType, unit }) => [id, valueType, unit]);
    expect(forms(own)).toEqual(forms(other));
    expect(own?.legacy).toEqual(other?.legacy);
    const value = (statistics: typeof own, id: number) =>
      statistics?.items.find((item) => item.id === id)?.value;
    // sizes that do not change by themselves
    for (const id of [11, 6, 12, 10, 13, 60]) expect([id, value(own, id)]).toEqual([id, value(other, id)]);
  });

  it('everything comes again after a reset, each report in the same order', async () => {
    const order = ['4', '11', 'disks', '1', '10', '7'];
    for (const { vmx } of [theirs, ours]) {
      const from = vmx.mark();
      await vmx.command('reset', TIMEOUT);
      // a report that is under way brings what is left of it, and the next one the rest
      for (const kind of ['4', '11', '1', '10'])
        await vmx.waitForRpc(new RegExp(`^SetGuestInfo {2}${kind} `), { from, ...TIMEOUT });
      await vmx.waitForRpc(/^SetGuestDiskInfo /, { from, ...TIMEOUT });
      await uptime(vmx, vmx.mark());
      const reports = kinds(vmx, from)
        .join(' ')
        .split(/(?<=\b7) /);
      for (const report of reports) {
        const parts = report.split(' ');
        expect(parts).toEqual(order.filter((kind) => parts.includes(kind)));
      }
    }
  });

  it('the network in the forms for older hosts', async () => {
    // version 1 has room that vmtoolsd does not clear
    const told = (type: number, { vmx }: VmxBench) => {
      const bytes = vmx.guestInfo.values.get(type);
      return type === GUEST_INFO.IP_ADDRESS ? bytes && decodeNicsV1(bytes) : bytes?.toString('hex');
    };
    // what is refused, and what comes then
    const forms: [RegExp, RegExp, number][] = [
      [/^SetGuestInfo {2}10 /, /^SetGuestInfo {2}9 \0\0\0\x03/, GUEST_INFO.NICS],
      [/^SetGuestInfo {2}9 \0\0\0\x03/, /^SetGuestInfo {2}9 \0\0\0\x02/, GUEST_INFO.NICS],
      [/^SetGuestInfo {2}9 /, /^SetGuestInfo {2}2 /, GUEST_INFO.IP_ADDRESS],
    ];
    const stops: (() => void)[] = [];
    for (const [refused, taken, type] of forms) {
      for (const { vmx } of [theirs, ours]) {
        stops.push(vmx.rpci.refuse({ request: refused }));
        const from = vmx.mark();
        await vmx.command('reset', TIMEOUT);
        await vmx.waitForRpc(taken, { from, ...TIMEOUT });
      }
      expect(told(type, ours)).toBeDefined();
      expect(told(type, ours)).toEqual(told(type, theirs));
    }
    for (const stop of stops) stop();
  });
});

describe.skipIf(missing !== undefined)('chr', () => {
  let bench: VmxBench;
  beforeAll(async () => {
    bench = await startDaemon('chr');
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  it('the first report is whole, and there within 2 s after Capabilities_Register', async () => {
    const { vmx } = bench;
    vmx.variables.set('guestinfo.exclude-nics', 'far*,lan1');
    vmx.variables.set('guestinfo.primary-nics', 'lan[0-9]');
    vmx.variables.set('guestinfo.disable-perfmon', 'False');
    await vmx.command('reset', TIMEOUT);
    const from = vmx.mark();
    await vmx.command('Capabilities_Register', TIMEOUT);
    const registered = performance.now();
    await vmx.waitForRpc(/^SetGuestInfo {2}8 /, { from, ...TIMEOUT });
    expect(performance.now() - registered).toBeLessThan(2_000);
    // the first uptime belongs to the registration
    expect(kinds(vmx, from)).toEqual(['7', '4', '11', 'disks', '1', '10', '7']);
    const nics = vmx.guestInfo.nics();
    expect(nics?.nics.map(({ mac, ips }) => [mac, ips.map(({ address }) => address)])).toEqual([
      ['02:00:5e:00:53:03', ['198.51.100.1']],
      ['02:00:5e:00:53:01', ['192.0.2.10', '192.0.2.11', '2001:db8::10']],
    ]);
    expect(nics?.routes).toContainEqual({
      destination: { type: 1, address: '10.0.0.0' },
      prefixLength: 8,
      nextHop: { type: 1, address: '198.51.100.2' },
      nic: 0,
      type: 0,
      metric: 7,
    });
    expect(nics?.dns?.host).toBe('guest.example');
    expect(vmx.guestInfo.disks()?.some(({ name }) => name === '/')).toBe(true);
  });

  it('a change of the network is told at once, and alone', async () => {
    const { vmx } = bench;
    const from = vmx.mark();
    writeFileSync(administratorScript(bench), 'ip address add 192.0.2.77/24 dev nic0\n');
    await vmx.waitForRpc(/^SetGuestInfo {2}10 /, { from, ...TIMEOUT });
    expect(kinds(vmx, from)).toEqual(['10']);
    expect(vmx.guestInfo.nics()?.nics[1]?.ips.map(({ address }) => address)).toContain('192.0.2.77');
  });

  it('broadcastIP tells the primary address', async () => {
    const { vmx } = bench;
    await vmx.command('Set_Option broadcastIP 1', TIMEOUT);
    await vmx.waitForRpc('info-set guestinfo.ip 198.51.100.1', TIMEOUT);
  });
});
