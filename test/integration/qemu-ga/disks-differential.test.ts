/** File systems and disks of this machine, as we and as Debian's qemu-ga tell them. */
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';
import { type ReferenceAgent, referenceMissing, startReferenceAgent } from '../../support/reference-agent.ts';

type Item = { [member: string]: unknown };
const missing = referenceMissing();

describe.skipIf(missing !== undefined)('beside qemu-ga', () => {
  let ours: OurAgent;
  let reference: ReferenceAgent;
  let ourClient: LineClient;
  let referenceClient: LineClient;

  beforeAll(async () => {
    ours = await startOurAgent();
    reference = await startReferenceAgent();
    ourClient = new LineClient(ours.socketPath);
    referenceClient = new LineClient(reference.socketPath);
  });
  afterAll(async () => {
    await ourClient.close();
    await referenceClient.close();
    await reference.stop();
    await ours.stop();
  });

  const both = async (command: string): Promise<[ours: Item[], reference: Item[]]> => [
    (await ourClient.result(command)) as Item[],
    (await referenceClient.result(command)) as Item[],
  ];
  /** Other tests make and remove loop devices meanwhile. */
  const lasting = (items: Item[]) =>
    items.filter(({ name }) => !String(name).replace('/dev/', '').startsWith('loop'));
  const sorted = (items: Item[]) => items.sort((a, b) => String(a.name).localeCompare(String(b.name)));

  it('guest-get-fsinfo', async () => {
    const [mine, theirs] = await both('guest-get-fsinfo');
    // 7.2 has every bind mount of a device: the last in its reversed list is the first mounted
    const firstOfEach = [...new Map(lasting(theirs).map((each) => [each.name, each])).values()];
    // what is used changes while we look, and this version does not tell what is kept for root
    const stable = ({ 'used-bytes': used, 'total-bytes': total, ...rest }: Item) => {
      const { 'total-bytes-privileged': _, ...known } = rest;
      return { ...known, used: typeof used, total: typeof total };
    };
    expect(sorted(lasting(mine).map(stable))).toEqual(sorted(firstOfEach.map(stable)));
    for (const each of mine.filter((item) => 'used-bytes' in item)) {
      expect(Number(each['used-bytes'])).toBeLessThanOrEqual(Number(each['total-bytes']));
      expect(Number(each['total-bytes'])).toBeLessThanOrEqual(Number(each['total-bytes-privileged']));
    }
  });

  it('guest-get-disks', async () => {
    const [mine, theirs] = await both('guest-get-disks');
    expect(sorted(lasting(mine))).toEqual(sorted(lasting(theirs)));
  });

  it('guest-get-diskstats', async () => {
    const [mine, theirs] = await both('guest-get-diskstats');
    const shape = ({ name, major, minor, stats }: Item) => ({
      name,
      major,
      minor,
      stats: Object.keys(stats as Item).sort(),
    });
    const [our, their] = [lasting(mine), lasting(theirs)];
    expect(our.map(shape)).toEqual(their.map(shape));
    // counters only grow
    for (const [index, { stats }] of our.entries()) {
      const later = their[index]?.stats as Record<string, number>;
      for (const name of ['read-ios', 'write-sectors', 'discard-ios', 'flush-ticks']) {
        expect((stats as Record<string, number>)[name]).toBeLessThanOrEqual(later[name] ?? 0);
      }
    }
  });

  it('guest-fstrim', async () => {
    // no extent is that large: ours is refused by the kernel, the reference may not trim at all
    const arguments_ = { minimum: 2 ** 52 };
    const mine = (await ourClient.result('guest-fstrim', arguments_)) as { paths: Item[] };
    const theirs = (await referenceClient.result('guest-fstrim', arguments_)) as { paths: Item[] };
    const paths = (reply: { paths: Item[] }) =>
      new Set(reply.paths.map(({ path }) => String(path)).filter((path) => !path.startsWith(tmpdir())));
    const known = paths(theirs);
    for (const path of paths(mine)) expect(known).toContain(path);
    expect(await ourClient.command('guest-fstrim', { minimum: '1' })).toEqual(
      await referenceClient.command('guest-fstrim', { minimum: '1' }),
    );
  });

  it('guest-get-devices is unknown, as in newer versions', async () => {
    expect((await ourClient.command('guest-get-devices')).error?.class).toBe('CommandNotFound');
  });
});
