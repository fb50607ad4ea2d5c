import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseIpv4Route, parseIpv6Route } from '../../../src/guest/linux/route-tables.ts';
import { routingTables } from '../../../src/guest/routes.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';

const HEAD = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT      \n';
const DEFAULT4 = 'eth0\t00000000\t010200C0\t0003\t0\t0\t-1\t00000000\t1400\t65535\t10      ';
const NET4 = 'eth0.5\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n';
const ALL_ZERO = '0'.repeat(32);
const NET6 = `20010db8000000000000000000000000 40 ${ALL_ZERO} 00 ${ALL_ZERO} 00000100 00000001 00000002 00000001     eth0`;
const BLACKHOLE6 = `${ALL_ZERO} 00 ${ALL_ZERO} 00 fe800000000000000000000000000001 ffffffff 00000001 00000000 80200200       lo\n`;

describe('/proc/net/route', () => {
  it('a default route with a metric that the kernel prints as signed', () => {
    expect(parseIpv4Route(DEFAULT4)).toEqual({
      interface: 'eth0',
      destination: '0.0.0.0',
      gateway: '192.0.2.1',
      mask: '0.0.0.0',
      flags: 3,
      references: 0,
      uses: 0,
      metric: 4294967295,
      mtuBytes: 1400,
      windowBytes: 65535,
      irtt: 10,
    });
  });

  it('a network, also on a big-endian machine', () => {
    const route = { interface: 'eth0.5', destination: '192.0.2.0', mask: '255.255.255.0', metric: 100 };
    expect(parseIpv4Route(NET4)).toMatchObject(route);
    const swapped = NET4.replace('000200C0', 'C0000200').replace('00FFFFFF', 'FFFFFF00');
    expect(parseIpv4Route(swapped, 'BE')).toMatchObject(route);
  });

  it.each([HEAD, '', 'eth0\t0\t0', DEFAULT4.replace('-1', 'x'), DEFAULT4.replace('010200C0', '010200CG')])(
    '%j is no route',
    (line) => {
      expect(parseIpv4Route(line)).toBeNull();
    },
  );
});

describe('/proc/net/ipv6_route', () => {
  it('a network', () => {
    expect(parseIpv6Route(NET6)).toEqual({
      interface: 'eth0',
      destination: '2001:db8::',
      prefixLength: 64,
      source: '::',
      sourcePrefixLength: 0,
      nextHop: '::',
      metric: 256,
      references: 1,
      uses: 2,
      flags: 1,
    });
  });

  it('numbers are unsigned', () => {
    expect(parseIpv6Route(BLACKHOLE6)).toMatchObject({
      interface: 'lo',
      nextHop: 'fe80::1',
      metric: 4294967295,
      flags: 0x80200200,
    });
  });

  it.each(['', 'rubbish', BLACKHOLE6.replace('ffffffff', 'fffffffff')])('%j is no route', (line) => {
    expect(parseIpv6Route(line)).toBeNull();
  });
});

describe('the tables', () => {
  let root: FakeRoot;
  beforeEach(() => {
    root = makeFakeRoot();
  });
  afterEach(() => root[Symbol.dispose]());

  it('a family without a file is empty', async () => {
    await expect(routingTables(root.path)).resolves.toEqual({ ipv4: [], ipv6: [] });
    root.add({ 'proc/net/ipv6_route': BLACKHOLE6 });
    const { ipv4, ipv6 } = await routingTables(root.path);
    expect([ipv4.length, ipv6.length]).toEqual([0, 1]);
  });

  it('come whole from many pieces', async () => {
    const lines = Array.from({ length: 5000 }, (_, index) => NET4.replace('100', String(index)));
    root.add({ 'proc/net/route': HEAD + lines.join('').trimEnd() });
    const { ipv4 } = await routingTables(root.path);
    expect(ipv4.map(({ metric }) => metric)).toEqual(lines.map((_, index) => index));
  });

  it('of the whole internet are refused', async () => {
    root.add({ 'proc/net/route': HEAD + NET4.repeat(100_000) });
    await expect(routingTables(root.path)).rejects.toMatchObject({ call: 'read', errno: 27 });
  });

  it('of the whole internet have a beginning', async () => {
    root.add({ 'proc/net/route': HEAD + NET4.repeat(100_000) });
    expect((await routingTables(root.path, 1000)).ipv4).toHaveLength(1000);
    expect((await routingTables(root.path, 3)).ipv4).toHaveLength(3);
  });

  it('of this machine can be read', async () => {
    const { ipv4, ipv6 } = await routingTables();
    for (const route of [...ipv4, ...ipv6]) expect(route.interface).toMatch(/^\S+$/);
  });
});
