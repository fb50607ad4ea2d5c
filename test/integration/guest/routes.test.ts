/** Real routing tables in a network namespace that ends with the process that made it. Needs root, unshare and ip. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { RoutingTables } from '../../../src/guest/routes.ts';

const program = fileURLToPath(new URL('route-tables.fixture.ts', import.meta.url));
const possible =
  process.getuid?.() === 0 && ['/usr/bin/unshare', '/usr/sbin/ip'].every((path) => existsSync(path));

describe.skipIf(!possible)('a namespace of its own', () => {
  it('has routes of both families with all their numbers', () => {
    const script = `set -e
      ip link add left type veth peer name right
      ip link set left up
      ip link set right up
      ip address add 192.0.2.10/24 dev left
      ip address add 2001:db8::10/64 dev left nodad
      ip route add default via 192.0.2.1 metric 4294967295 advmss 1360 window 1000
      ip route add 198.51.100.0/25 via 192.0.2.2
      ip route add unreachable 203.0.113.0/24
      ip -6 route add default via 2001:db8::1 metric 4294967295
      ip -6 route add 2001:db8:1::/48 via 2001:db8::2 metric 5
      exec ${process.execPath} ${program}`;
    const output = execFileSync('/usr/bin/unshare', ['-n', '/bin/sh', '-c', script], { encoding: 'utf8' });
    const { ipv4, ipv6 } = JSON.parse(output) as RoutingTables;
    const route4 = (destination: string) => ipv4.find((route) => route.destination === destination);
    expect(route4('0.0.0.0')).toMatchObject({
      interface: 'left',
      gateway: '192.0.2.1',
      mask: '0.0.0.0',
      flags: 3,
      metric: 4294967295,
      mtuBytes: 1400,
      windowBytes: 1000,
    });
    expect(route4('198.51.100.0')).toMatchObject({
      gateway: '192.0.2.2',
      mask: '255.255.255.128',
      metric: 0,
    });
    expect(route4('203.0.113.0')).toMatchObject({ interface: '*' });
    expect(route4('192.0.2.0')).toMatchObject({ interface: 'left', gateway: '0.0.0.0', flags: 1 });
    expect(ipv6).toContainEqual(
      expect.objectContaining({
        interface: 'left',
        destination: '2001:db8:1::',
        prefixLength: 48,
        source: '::',
        sourcePrefixLength: 0,
        nextHop: '2001:db8::2',
        metric: 5,
      }),
    );
    expect(ipv6).toContainEqual(
      expect.objectContaining({
        destination: '::',
        prefixLength: 0,
        nextHop: '2001:db8::1',
        metric: 4294967295,
      }),
    );
  });
});
