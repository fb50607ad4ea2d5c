/** The simulator's decoders of guest information against what Debian's open-vm-tools sends (vmware.md section 6). */
import { hostname } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GUEST_INFO } from '../../hosts/vmx/guest-reports.ts';
import { openVmToolsMissing, startVmxBench, type VmxBench } from '../../support/vmx.ts';

const missing = openVmToolsMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

describe.skipIf(missing !== undefined)('guest information of vmtoolsd', () => {
  let bench: VmxBench;
  const vmx = () => bench.vmx;

  /** Kinds of report since then: the type of SetGuestInfo, or `disks`. */
  const kinds = (from: number) =>
    vmx()
      .rpci.calls.slice(from)
      .map(({ text }) =>
        text.startsWith('SetGuestDiskInfo') ? 'disks' : /^SetGuestInfo {2}(\d+)/.exec(text)?.[1],
      )
      .filter((kind) => kind !== undefined);
  const uptime = (from: number) => vmx().waitForRpc(/^SetGuestInfo {2}7 /, { from });

  beforeAll(async () => {
    bench = await startVmxBench();
    bench.startToolsDaemon({ configuration: '[guestinfo]\npoll-interval=1\nstats-interval=1\n' });
    await vmx().tclo.session();
    await uptime(0);
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  it('comes one interval after the start, whether the host has reset the guest or not', () => {
    // seen with open-vm-tools 12.2: before the first reset the disks are sent in the unversioned form
    expect(kinds(0).filter((kind) => kind !== '8')).toEqual(['4', '11', '3', '1', '10', '7']);
    expect(
      vmx()
        .guestInfo.disks()
        ?.map(({ name }) => name),
    ).toContain('/etc/vmware-tools');
  });

  it('comes whole again after a reset, with the disks as JSON', async () => {
    await vmx().command('reset');
    const from = vmx().mark();
    await uptime(from);
    const tick = kinds(from).filter((kind) => kind !== '8');
    expect(tick).toEqual(['4', '11', 'disks', '1', '10', '7']);
    const disks = vmx().guestInfo.disks() ?? [];
    expect(disks.length).toBeGreaterThan(0);
    for (const { freeBytes, sizeBytes } of disks) expect(freeBytes <= sizeBytes).toBe(true);
  });

  it('comes again only where it has changed', async () => {
    let from = vmx().mark();
    await uptime(from);
    from = vmx().mark();
    await uptime(from);
    // the free space changes as it likes
    expect(kinds(from).filter((kind) => kind !== '8' && kind !== 'disks')).toEqual(['7']);
  });

  it('has the name, the build and the uptime', () => {
    const { guestInfo } = vmx();
    expect(guestInfo.text(GUEST_INFO.DNS_NAME)).toBe('guest.example');
    expect(hostname()).not.toBe('guest.example');
    expect(guestInfo.text(GUEST_INFO.BUILD_NUMBER)).toMatch(/^build-\d+$/);
    expect(guestInfo.text(GUEST_INFO.UPTIME)).toMatch(/^\d+$/);
  });

  it('has the system (type 11)', () => {
    const { shortName, fullName, details } = vmx().guestInfo.osDetails() ?? {};
    expect(shortName).toMatch(/-64$/);
    expect(fullName).toMatch(/^Linux /);
    expect([...(details?.keys() ?? [])].join(' ')).toMatch(
      /^architecture bitness( buildNumber)?( cpeString)?( distroAddlVersion)? distroName( distroVersion)? familyName kernelVersion prettyName$/,
    );
  });

  it('has the network (type 10)', () => {
    const { nics = [], routes = [], dns } = vmx().guestInfo.nics() ?? {};
    // seen with open-vm-tools 12.2: an interface that is up but has no address is reported too
    expect(nics.map(({ mac, ips }) => [mac, ips.map(({ address }) => address)])).toEqual([
      ['02:00:5e:00:53:02', []],
      ['02:00:5e:00:53:01', ['192.0.2.10', '2001:db8::10']],
    ]);
    expect(nics[1]?.ips).toEqual([
      { type: 1, address: '192.0.2.10', prefixLength: 24, origin: undefined, status: 1 },
      { type: 2, address: '2001:db8::10', prefixLength: 64, origin: undefined, status: 5 },
    ]);
    const seen = routes.map(({ destination, prefixLength, nextHop, nic, metric }) =>
      [`${destination.address}/${prefixLength}`, nextHop?.address ?? '-', nic, metric].join(' '),
    );
    expect(seen.slice(0, 2)).toEqual(['0.0.0.0/0 192.0.2.1 1 0', '192.0.2.0/24 - 1 0']);
    // the kernel's order
    expect(seen.slice(2).sort()).toEqual([
      '2001:db8::/64 - 1 256',
      '2001:db8::10/128 - 1 0',
      'ff00::/8 - 0 256',
      'ff00::/8 - 1 256',
    ]);
    expect(dns?.host).toBe('guest.example');
  });

  it('has the statistics (type 8)', async () => {
    const statistics = vmx().guestInfo.statistics();
    expect(statistics?.nameSpace).toBe('_tools/v1');
    expect(statistics?.items.map(({ id, valueType, unit }) => [id, valueType, unit.toString(16)])).toEqual([
      [11, 9, '803'],
      [6, 9, '803'],
      [4, 9, '803'],
      [3, 9, '803'],
      [9, 9, '803'],
      [12, 9, '8803'],
      [7, 11, '8043'],
      [8, 11, '8043'],
      [2, 11, '42'],
      [10, 9, '3'],
      [5, 9, '803'],
      [13, 9, '803'],
      [25, 9, '803'],
      [34, 9, '803'],
      [26, 9, '803'],
      [27, 9, '803'],
      [60, 9, '803'],
      [61, 9, '2'],
      [62, 9, '2'],
      [63, 11, '2'],
    ]);
    const known = new Map(statistics?.items.map(({ id, value }) => [id, value]));
    expect(known.get(10)).toBe(4096);
    expect(BigInt(known.get(6) ?? 0)).toBe(statistics?.legacy.memTotalKib);
  });

  it('comes in older forms where the host refuses the newer ones, until the next reset', async () => {
    vmx().rpci.refuse({ request: /^SetGuestInfo {2}(10|11) / });
    vmx().rpci.refuse({ request: 'SetGuestDiskInfo' });
    await vmx().command('reset');
    let from = vmx().mark();
    await uptime(from);
    expect(kinds(from).filter((kind) => kind !== '8')).toEqual([
      '4',
      '11',
      '5',
      '6',
      'disks',
      '3',
      '1',
      '10',
      '9',
      '7',
    ]);
    expect(vmx().guestInfo.text(GUEST_INFO.OS_NAME_FULL)).toMatch(/^Linux /);
    expect(vmx().guestInfo.text(GUEST_INFO.OS_NAME)).toMatch(/-64$/);
    from = vmx().mark();
    await uptime(from);
    expect(kinds(from)).not.toContain('11');
    expect(kinds(from)).not.toContain('10');
  });
});
