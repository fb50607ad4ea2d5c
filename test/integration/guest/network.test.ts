/** Real interfaces in a network namespace that ends with the process that made it. Needs root, unshare, ip and tc. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type NetworkInterface, networkInterfaces } from '../../../src/guest/network.ts';
import { native } from '../../../src/native/index.ts';

const program = fileURLToPath(new URL('in-namespace.ts', import.meta.url));
const possible =
  process.getuid?.() === 0 &&
  ['/usr/bin/unshare', '/usr/sbin/ip', '/usr/sbin/tc'].every((path) => existsSync(path));

/** Runs shell lines in a new namespace, where `guest` is in-namespace.ts. */
function inNamespace(script: string): string {
  const text = `set -e; guest() { ${process.execPath} ${program} "$@"; }\n${script}`;
  return execFileSync('/usr/bin/unshare', ['-n', '/bin/sh', '-c', text], { encoding: 'utf8' });
}

describe('this machine', () => {
  it('has the names and counters of /proc/net/dev, in that order', () => {
    // counters move between two looks
    const text = () => readFileSync('/proc/net/dev', 'utf8').split('\n').slice(2, -1);
    const rows = (lines: string[]) =>
      lines.map((line) => {
        const [name = '', ...numbers] = line.trim().split(/[:\s]+/);
        const [rxBytes, rxPackets, rxErrors, rxDropped, , , , , txBytes, txPackets, txErrors, txDropped] =
          numbers.map(BigInt);
        return [name, { rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }];
      });
    for (let attempt = 0; ; attempt += 1) {
      const before = text();
      const found = networkInterfaces(native);
      if (before.join() !== text().join() && attempt < 1000) continue;
      expect(found.map(({ name, statistics }) => [name, statistics])).toEqual(rows(before));
      return;
    }
  });

  it('has the hardware addresses, indexes and sizes of sysfs', () => {
    for (const { name, hardwareAddress, index, mtuBytes } of networkInterfaces(native)) {
      const sysfs = (file: string) => readFileSync(`/sys/class/net/${name}/${file}`, 'utf8').trim();
      expect({ name, hardwareAddress: hardwareAddress ?? '', index, mtuBytes }).toEqual({
        name,
        hardwareAddress: sysfs('address'),
        index: Number(sysfs('ifindex')),
        mtuBytes: Number(sysfs('mtu')),
      });
    }
  });
});

describe.skipIf(!possible)('a namespace of its own', () => {
  const interfaces = (script: string): NetworkInterface[] =>
    JSON.parse(inNamespace(`${script}\nguest interfaces`));

  it('lists every kind of address, down interfaces and ones without address', () => {
    const found = interfaces(`
      ip link add left type veth peer name right
      ip link set left address 02:00:00:AA:BB:01
      ip address add 192.0.2.1/24 dev left
      ip address add 192.0.2.2/24 dev left label left:1
      ip address add 198.51.100.1 peer 198.51.100.2/32 dev left
      ip address add 2001:db8::1/64 dev left nodad
      ip address add 203.0.113.5/25 dev right
      ip link set lo up
      ip link set left up
      ip link add bare type veth peer name bare-end`);
    expect(found.map(({ name }) => name)).toEqual(
      [...found].sort((a, b) => a.index - b.index).map(({ name }) => name),
    );
    const named = (name: string) => found.find((one) => one.name === name);
    expect(named('lo')).toMatchObject({
      index: 1,
      loopback: true,
      up: true,
      hardwareAddress: '00:00:00:00:00:00',
      addresses: [
        { address: '127.0.0.1', prefixLength: 8, scope: 'host' },
        { address: '::1', prefixLength: 128, scope: 'host' },
      ],
    });
    const left = named('left');
    expect(left).toMatchObject({ up: true, running: false, loopback: false, mtuBytes: 1500 });
    expect(left?.hardwareAddress).toBe('02:00:00:aa:bb:01');
    expect(left?.addresses.filter(({ scope }) => scope === 'global')).toEqual([
      { family: 'ipv4', address: '192.0.2.1', prefixLength: 24, label: 'left', scope: 'global' },
      { family: 'ipv4', address: '198.51.100.1', prefixLength: 32, label: 'left', scope: 'global' },
      { family: 'ipv4', address: '192.0.2.2', prefixLength: 24, label: 'left:1', scope: 'global' },
      { family: 'ipv6', address: '2001:db8::1', prefixLength: 64, label: 'left', scope: 'global' },
    ]);
    // down, with an address
    expect(named('right')).toMatchObject({
      up: false,
      addresses: [{ address: '203.0.113.5', prefixLength: 25 }],
    });
    expect(named('bare')).toMatchObject({ up: false, addresses: [] });
  });

  it('lists hundreds: a dump of many datagrams', () => {
    const found = interfaces(`
      for i in $(seq 100); do
        echo "link add name many$i type veth peer name end$i"
        echo "address add 10.0.$i.1/24 dev many$i"
        echo "address add 2001:db8:$i::1/64 dev many$i"
      done | ip -batch -`);
    expect(found).toHaveLength(201);
    expect(found.find(({ name }) => name === 'many100')).toMatchObject({
      addresses: [{ address: '10.0.100.1' }, { address: '2001:db8:100::1' }],
    });
  });

  it('counts', () => {
    const found = interfaces('ip link set lo up; ping -c 2 -i 0.01 -q 127.0.0.1 >/dev/null 2>&1 || true');
    const { rxBytes, txBytes, rxPackets, txPackets } = found[0]?.statistics ?? {};
    expect([rxBytes, rxPackets]).toEqual([txBytes, txPackets]);
  });

  it('may change qdiscs although this run takes no actions; the initial namespace not', () => {
    const shown = inNamespace(
      'ip link add bare type veth peer name bare-end; guest limit bare; tc qdisc show dev bare',
    );
    expect(shown).toMatch(/^\{"errno":0,"text":""\}qdisc tbf .* rate 1Mbit burst 10Kb /);
    // an interface that is not there: refused before it is asked for
    const here = execFileSync(process.execPath, [program, 'limit', 'bare'], { encoding: 'utf8' });
    expect(here).toMatch(/^\{"refused":"refused: this run may not change queueing disciplines/);
  });
});
