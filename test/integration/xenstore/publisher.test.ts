/** Guest information in the unchanged C xenstored, with a domain's permissions as XAPI and xl give them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NetworkInterface } from '../../../src/guest/network.ts';
import type { DomainOptions } from '../../support/test-store.ts';
import { until } from '../../support/test-store.ts';
import { startTestAgent, type TestAgent } from '../../support/xenstore-service.ts';
import { startXenstored, type Xenstored, xenstoredMissing } from '../../support/xenstored.ts';

let store: Xenstored;
let agent: TestAgent | null;
let domain: number;
let addresses: string[];
let freeBytes: number;

beforeEach(() => {
  agent = null;
  domain = 3;
  addresses = ['10.0.0.2', 'fe80::1'];
  freeBytes = 1024 * 1000;
});
afterEach(async () => {
  await agent?.close();
  await store.stop();
});

const at = (path: string) => `/local/domain/${domain}/${path}`;
const text = (path: string): Promise<string | null> =>
  store.toolstack.read(at(path)).then(String, () => null);
const isText = (path: string, wanted: string | null) =>
  until(`${path} = ${wanted}; ${agent?.log.lines.join('; ')}`, async () => (await text(path)) === wanted);
/** Paths of what the guest has written since, as xenstored saw it. */
const writes = (sinceBytes: number) =>
  store
    .trace()
    .slice(sinceBytes)
    .split('\n')
    .flatMap((line) => /\bIN\b.*\bWRITE \((\S+)/.exec(line)?.[1] ?? []);

function networkInterface(): NetworkInterface {
  return {
    index: 2,
    name: 'enX1',
    hardwareAddress: '00:16:3e:00:00:01',
    addresses: addresses.map((address) => ({
      family: address.includes(':') ? 'ipv6' : 'ipv4',
      address,
      prefixLength: 24,
      label: 'enX1',
      scope: 'global',
    })),
    statistics: null,
    up: true,
    running: true,
    loopback: false,
    mtuBytes: 1500,
  };
}

async function begin(options: DomainOptions, more: Parameters<typeof startTestAgent>[1] = {}): Promise<void> {
  store = await startXenstored();
  await store.domainUp(domain, options);
  agent = startTestAgent(store.guestSocket(domain), more, {
    networkInterfaces: () => [networkInterface()],
    xenVifNumber: () => 1,
    memoryUsage: () => ({ totalBytes: 2 * freeBytes, availableBytes: freeBytes }),
    fileSystems: async () => [],
    bootTimeSeconds: () => 1_795_560_020,
  });
  await until(`published; ${agent.log.lines.join('; ')}`, async () => (await text('data/updated')) !== null);
}

describe.skipIf(xenstoredMissing() !== undefined)('guest information', () => {
  it('is what XAPI reads', async () => {
    await begin({ layout: 'xapi' });
    const expected = {
      'attr/PVAddons/Installed': '1',
      'attr/PVAddons/MajorVersion': '2',
      'attr/vif/1/ipv4/0': '10.0.0.2',
      'attr/vif/1/ipv6/0': 'fe80::1',
      'attr/vif/1/mac/0': '00:16:3e:00:00:01',
      'attr/eth1/ip': '10.0.0.2',
      'attr/eth1/ipv6/0/addr': 'fe80::1',
      'data/meminfo_total': '2000',
      'data/meminfo_free': '1000',
      'data/boot_time': '1795560020',
    };
    for (const [path, value] of Object.entries(expected))
      expect([path, await text(path)]).toEqual([path, value]);
    for (const path of ['data/os_name', 'data/os_uname', 'data/os_distro', 'data/host_name_dns'])
      expect(await text(path)).toMatch(/./);
    expect(await store.toolstack.directory(at('control'))).not.toContain('feature-balloon');
    expect(agent?.log.lines.filter((line) => /^(error|warning)/.test(line))).toEqual([]);
  });

  it('is written only where it changes: memory is two writes, and nothing is none', async () => {
    await begin({ layout: 'xapi' });
    await isText('vm-data/provision/script/status', 'ready');
    const before = store.trace().length;
    freeBytes -= 10 * 1024;
    await isText('data/meminfo_total', String((2 * freeBytes) / 1024));
    await until('the last one', () => writes(before).includes('data/updated'));
    // several reports pass without another write
    const reads = () => store.trace().slice(before).split('unique-domain-id').length;
    const read = reads();
    await until('more reports', () => reads() > read + 3);
    expect(writes(before).sort()).toEqual(['data/meminfo_free', 'data/meminfo_total', 'data/updated']);
  });

  it('follows the network at once, and addresses that are gone go', async () => {
    await begin({ layout: 'xapi' });
    addresses = ['10.0.0.9'];
    agent?.networkChanged();
    await isText('attr/vif/1/ipv4/0', '10.0.0.9');
    await isText('attr/vif/1/ipv6', null);
    await isText('attr/eth1/ipv6', null);
    addresses = [];
    agent?.networkChanged();
    await isText('attr/eth1/ip', null);
    expect(await store.toolstack.directory(at('attr/vif/1'))).toEqual(['name', 'mac']);
  });

  it.each(['xapi', 'xl'] as const)('is there again after a resume to a new domain (%s)', async (layout) => {
    await begin({ layout });
    await store.resume(domain, domain + 4, { layout });
    domain += 4;
    await until('the keys', async () => (await text('data/updated')) !== null);
    expect(await text('attr/vif/1/ipv4/0')).toBe('10.0.0.2');
    expect(await text('data/os_name')).toMatch(/./);
  });

  it('goes on where a key is not allowed (xl: ballooning), with one log line', async () => {
    await begin({ layout: 'xl' }, { featureBalloon: true });
    const before = store.trace().length;
    const rounds = () => store.trace().slice(before).split('unique-domain-id').length;
    await until('more reports', () => rounds() > 4);
    expect(agent?.log.lines.filter((line) => line.includes('feature-balloon'))).toHaveLength(1);
    expect(await text('attr/vif/1/ipv4/0')).toBe('10.0.0.2');
    expect(await text('control/feature-balloon')).toBeNull();
  });

  it('removes what an earlier run has left', async () => {
    await begin({ layout: 'xapi' });
    await agent?.stop();
    await store.toolstack.write(at('attr/vif/6/ipv4/0'), '10.6.6.6');
    await store.toolstack.write(at('attr/eth6/ip'), '10.6.6.6');
    addresses = ['10.0.0.2'];
    const before = store.trace().length;
    agent?.start();
    await isText('attr/vif/6', null);
    await isText('attr/eth6', null);
    await isText('attr/vif/1/ipv6', null);
    await until('the last one', () => writes(before).includes('data/updated'));
    expect(writes(before)).not.toContain('data/os_name');
  });
});
