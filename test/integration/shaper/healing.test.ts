/** Whatever is done to an interface or its queueing: within a second it is limited again. Real namespaces, real qdiscs. */
import { afterEach, describe, expect, it } from 'vitest';
import { LIMIT_CLASS, LIMIT_HANDLE } from '../../../src/shaper/qdisc.ts';
import {
  createNetworkLab,
  labIsPossible,
  type NetworkLab,
  roundTrips,
  startEcho,
  until,
} from '../../support/network-lab.ts';
import { type ShaperProcess, startShaper } from '../../support/shaper-process.ts';

/** A busy machine may be late; the usual time is some milliseconds. */
const HEALING_MS = 1000;

let lab: NetworkLab;
let shaper: ShaperProcess;
afterEach(() => lab.close());

const tc = (...args: string[]) => lab.run('router', 'tc', ...args);
const ip = (...args: string[]) => lab.run('router', 'ip', ...args);
const shown = (name = lab.near) => tc('qdisc', 'show', 'dev', name);
const isLimited = (name = lab.near, place: 'router' | 'peer' = 'router') =>
  lab.qdiscs(place, name).some(({ kind, handle }) => kind === 'tbf' && handle === LIMIT_HANDLE);
const healed = (name = lab.near, place: 'router' | 'peer' = 'router') =>
  until(
    () => isLimited(name, place),
    () => `${lab.run(place, 'tc', 'qdisc')} ${shaper.log.join('\n')}`,
  );

describe.skipIf(!labIsPossible)('the shaper', () => {
  async function begin(...patterns: string[]) {
    lab = await createNetworkLab({ mtu: 1500, queues: 4 });
    shaper = await startShaper(lab, 'free', lab.near, ...patterns);
    await healed();
  }

  it('puts tbf at the root, as tc sees it', async () => {
    await begin();
    expect(shown()).toMatch(/^qdisc tbf c4a0: root refcnt \d+ rate 1Mbit burst 6256b/);
  });

  it.each<[string, () => void]>([
    ['its qdisc is deleted', () => tc('qdisc', 'del', 'dev', lab.near, 'root')],
    ['another takes its place', () => tc('qdisc', 'replace', 'dev', lab.near, 'root', 'pfifo')],
    ['mq takes its place', () => tc('qdisc', 'replace', 'dev', lab.near, 'root', 'mq')],
    [
      'its rate is changed',
      () =>
        tc(
          'qdisc',
          'change',
          'dev',
          lab.near,
          'root',
          'handle',
          'c4a0:',
          'tbf',
          'rate',
          '5mbit',
          'burst',
          '20k',
          'limit',
          '30k',
        ),
    ],
    [
      'another kind takes its handle',
      () => {
        tc('qdisc', 'del', 'dev', lab.near, 'root');
        tc('qdisc', 'replace', 'dev', lab.near, 'root', 'handle', 'c4a0:', 'htb');
      },
    ],
    [
      'the interface goes down and up',
      () => {
        ip('link', 'set', lab.near, 'down');
        tc('qdisc', 'del', 'dev', lab.near, 'root');
        ip('link', 'set', lab.near, 'up');
      },
    ],
  ])('heals when %s', async (_what, harm) => {
    await begin();
    try {
      harm();
    } catch {
      // healed in the middle of it
    }
    const tookMs = await until(
      () => shown().startsWith('qdisc tbf c4a0: root') && /rate 1Mbit burst 6256b/.test(shown()),
      shown,
    );
    expect(tookMs).toBeLessThan(HEALING_MS);
  });

  it('follows the MTU, so that the largest datagram passes', async () => {
    await begin();
    lab.run('peer', 'ip', 'link', 'set', lab.far, 'mtu', '9000');
    ip('link', 'set', lab.near, 'mtu', '9000');
    expect(await until(() => /burst 36256b/.test(shown()), shown)).toBeLessThan(HEALING_MS);
    await startEcho(lab);
    expect(Math.min(...roundTrips(lab, 3, 8000))).toBeLessThan(1000);
  });

  it('limits an interface that comes, and one that is renamed', async () => {
    await begin('later*', 'lab-named');
    ip('link', 'add', 'lab-named', 'type', 'veth', 'peer', 'name', 'lab-other');
    expect(await healed('lab-named')).toBeLessThan(HEALING_MS);
    // a glob only means hardware
    expect(isLimited('lab-other')).toBe(false);
    ip('link', 'del', 'lab-named');
    ip('link', 'set', lab.near, 'down');
    tc('qdisc', 'del', 'dev', lab.near, 'root');
    ip('link', 'add', 'lab-some', 'type', 'veth', 'peer', 'name', 'lab-other');
    ip('link', 'set', 'lab-some', 'name', 'lab-named');
    expect(await healed('lab-named')).toBeLessThan(HEALING_MS);
  });

  it('follows an interface to another namespace and back', async () => {
    await begin();
    const peerPid = /\d+/.exec(lab.path('peer'))?.[0] ?? '';
    const routerPid = /\d+/.exec(lab.path('router'))?.[0] ?? '';
    ip('link', 'set', lab.near, 'netns', peerPid);
    expect(await healed(lab.near, 'peer')).toBeLessThan(HEALING_MS);
    await until(
      async () =>
        (await shaper.show()).interfaces.some(
          ({ name, namespace, enforcement }) =>
            name === lab.near && namespace === `process ${peerPid}` && enforcement.state === 'limited',
        ),
      'it is not shown',
    );
    // the kernel's events from there arrive too
    lab.run('peer', 'tc', 'qdisc', 'del', 'dev', lab.near, 'root');
    expect(await healed(lab.near, 'peer')).toBeLessThan(HEALING_MS);
    lab.run('peer', 'ip', 'link', 'set', lab.near, 'netns', routerPid);
    expect(await healed()).toBeLessThan(HEALING_MS);
    expect(shaper.log.filter((line) => line.startsWith('warning'))).toEqual([]);
  });

  it('changes the level in place: the link stays up, the counters go on', async () => {
    await begin();
    await startEcho(lab);
    roundTrips(lab, 3, 100);
    const before = lab.sent('router', lab.near).sentBytes;
    expect(before).toBeGreaterThan(0);
    const carrierChanges = () =>
      lab.run('router', 'ip', '-d', '-j', 'link', 'show', lab.near).match(/"carrier_changes":\d+/)?.[0];
    const changes = carrierChanges();
    shaper.tell('p1');
    await until(() => shown().includes('rate 1Gbit burst 1000000b'), shown);
    expect(lab.sent('router', lab.near).sentBytes).toBeGreaterThanOrEqual(before);
    expect(carrierChanges()).toBe(changes);
    shaper.tell('p10');
    await until(() => shown().includes('rate 10Gbit'), shown);
    expect(lab.sent('router', lab.near).sentBytes).toBeGreaterThanOrEqual(before);
  });

  it("keeps the admin's own queueing below the limit, and its length when the level changes", async () => {
    await begin();
    tc('qdisc', 'replace', 'dev', lab.near, 'parent', 'c4a0:1', 'handle', '7:', 'pfifo', 'limit', '77');
    shaper.tell('p1');
    await until(() => shown().includes('rate 1Gbit'), shown);
    shaper.tell('free');
    await until(() => shown().includes('rate 1Mbit'), shown);
    await shaper.show();
    expect(shown()).toMatch(/qdisc pfifo 7: parent c4a0:1 limit 77p/);
  });

  it('gives the class below the limit a queue when it has lost its own', async () => {
    await begin();
    tc('qdisc', 'replace', 'dev', lab.near, 'parent', 'c4a0:1', 'handle', '7:', 'pfifo');
    tc('qdisc', 'del', 'dev', lab.near, 'parent', 'c4a0:1', 'handle', '7:');
    await until(() => lab.qdiscs('router', lab.near).some(({ parent }) => parent === LIMIT_CLASS), shown);
    await startEcho(lab);
    expect(Math.min(...roundTrips(lab, 3, 1000))).toBeLessThan(1000);
  });

  it('p-unlimited: nothing of ours is left, and what is not ours stays', async () => {
    await begin();
    shaper.tell('p-unlimited');
    await until(() => !isLimited(), shown);
    expect(shown()).not.toContain('c4a');
    tc(
      'qdisc',
      'replace',
      'dev',
      lab.near,
      'root',
      'handle',
      '9:',
      'tbf',
      'rate',
      '3mbit',
      'burst',
      '20k',
      'limit',
      '30k',
    );
    // the handle alone does not make it ours
    tc(
      'qdisc',
      'replace',
      'dev',
      lab.near,
      'root',
      'handle',
      'c4a0:',
      'tbf',
      'rate',
      '4mbit',
      'burst',
      '20k',
      'limit',
      '30k',
    );
    const { interfaces } = await shaper.show();
    expect(interfaces.find(({ name }) => name === lab.near)?.enforcement).toEqual({ state: 'unlimited' });
    expect(shown()).toContain('rate 4Mbit');
  });

  it('is not drawn into an endless fight', async () => {
    await begin();
    for (let round = 0; round < 40; round += 1) {
      try {
        tc('qdisc', 'del', 'dev', lab.near, 'root');
      } catch {
        // it has not been put back yet
      }
      if (shaper.log.some((line) => line.includes('something keeps changing'))) break;
      await until(() => isLimited() || shaper.log.some((line) => line.includes('put off')), shown);
    }
    expect(
      shaper.log.filter((line) => line.includes('something keeps changing its queueing, repairs')),
    ).toHaveLength(1);
    await healed();
  });

  it('stays when the shaper is killed, and its successor changes nothing', async () => {
    await begin();
    const before = shown();
    const { sentBytes } = lab.sent('router', lab.near);
    await shaper.kill();
    expect(shown()).toBe(before);
    shaper = await startShaper(lab, 'free', lab.near);
    await shaper.show();
    expect(shown()).toBe(before);
    expect(lab.sent('router', lab.near).sentBytes).toBeGreaterThanOrEqual(sentBytes);
    expect(shaper.log.filter((line) => line.includes(lab.near))).toEqual([]);
  });

  it('leaves an earlier limit as it is until the level is known', async () => {
    await begin();
    shaper.tell('p1');
    await until(() => shown().includes('rate 1Gbit'), shown);
    await shaper.kill();
    shaper = await startShaper(lab, 'unknown', lab.near);
    await shaper.show();
    expect(shown()).toContain('rate 1Gbit');
    shaper.tell('free');
    await until(() => shown().includes('rate 1Mbit'), shown);
  });

  it('heals while file systems are frozen, and looks at other namespaces after the thaw', async () => {
    await begin();
    shaper.tell('freeze');
    await shaper.show();
    tc('qdisc', 'del', 'dev', lab.near, 'root');
    expect(await healed()).toBeLessThan(HEALING_MS);
    const peerPid = /\d+/.exec(lab.path('peer'))?.[0] ?? '';
    ip('link', 'set', lab.near, 'netns', peerPid);
    await shaper.show();
    expect(isLimited(lab.near, 'peer')).toBe(false);
    shaper.tell('thaw');
    await healed(lab.near, 'peer');
  });

  it('shows what it does not enforce, and why', async () => {
    await begin('/no/such/name');
    const { level, interfaces } = await shaper.show();
    expect(level).toBe('free');
    expect(interfaces.find(({ name }) => name === lab.near)).toMatchObject({
      namespace: null,
      enforcement: { state: 'limited', limitBitsPerSecond: 1e6 },
      counters: { drops: 0 },
    });
    // this machine's own interfaces are seen from here, and left alone
    for (const { name, enforcement } of interfaces)
      if (name !== lab.near) expect(enforcement).toMatchObject({ state: 'not enforced', kind: 'chosen' });
  });
});
