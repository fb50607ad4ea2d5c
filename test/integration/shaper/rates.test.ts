/**
 * What goes over the wire at each level, by the counters of the limit and of the interface at the other end. An upload that
 * the machine cannot keep up at the moment (its queue ran empty) proves nothing about the lower bound and is tried again.
 */
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import type { Level } from '../../../src/license/levels.ts';
import { LIMITS } from '../../../src/shaper/limits.ts';
import { createNetworkLab, labIsPossible, type NetworkLab } from '../../support/network-lab.ts';
import { startShaper } from '../../support/shaper-process.ts';
import {
  goodput,
  measureUpload,
  startIperfServer,
  type Traffic,
  uploadIsPossible,
} from '../../support/upload.ts';

const isLong = process.env.CHR_AGENT_LONG !== undefined;
const SECONDS = isLong ? 10 : 4;
const TRIES = 3;
const TIMEOUT_MS = 180_000;

let lab: NetworkLab;
afterEach(() => lab.close());

async function expectRate(level: Level, traffic: Traffic, tolerance: number, { skip }: TestContext) {
  const limit = LIMITS[level] ?? 0;
  await startShaper(lab, level, lab.near);
  await startIperfServer(lab);
  let isSaturated = false;
  let shares: number[] = [];
  for (let tries = 0; tries < TRIES; tries += 1) {
    const wire = await measureUpload(lab, traffic, SECONDS);
    if (wire === null) continue;
    shares = [wire.sentBitsPerSecond / limit];
    // a packet of many segments is counted as one by the interface
    if (wire.isSegmented) shares.push(wire.receivedBitsPerSecond / limit);
    // never more, whatever the machine is doing
    for (const share of shares) expect(share).toBeLessThan(1 + tolerance);
    if (shares.every((share) => share > 1 - tolerance)) return;
    isSaturated ||= wire.wasFull;
  }
  // the lower bound can only be judged where there was always something to send
  if (!isSaturated) skip('the machine is too busy to send as much as the limit');
  for (const share of shares) expect(share).toBeGreaterThan(1 - tolerance);
}

describe.skipIf(!labIsPossible || !uploadIsPossible)('upload', { timeout: TIMEOUT_MS }, () => {
  describe('free: 1 Mbit/s within 1 %', () => {
    beforeEach(async () => {
      lab = await createNetworkLab();
    });
    it.for<[string, Traffic]>([
      ['TCP, one flow', { flows: 1 }],
      ['TCP, eight flows', { flows: 8 }],
      ['UDP, one flow', { flows: 1, udp: { bytes: 1400, megabits: 3 } }],
      ['UDP, eight flows', { flows: 8, udp: { bytes: 1400, megabits: 4 } }],
    ])('%s', ([, traffic], context) => expectRate('free', traffic, 0.01, context));
  });

  // the peer's counter with large frames, since 83,000 small ones a second are too much for a busy machine
  describe.each([
    { mtu: 9000, segmentation: false },
    { mtu: 1500, segmentation: true },
  ])('p1: 1 Gbit/s within 2 %, %o', ({ mtu, segmentation }) => {
    beforeEach(async () => {
      lab = await createNetworkLab({ mtu, segmentation });
    });
    const udp = { bytes: mtu - 100, megabits: 1500 };
    it.for<[string, Traffic]>([
      ['TCP, one flow', { flows: 1 }],
      ['TCP, eight flows', { flows: 8 }],
      ...(mtu === 9000
        ? ([
            ['UDP, one flow', { flows: 1, udp }],
            ['UDP, eight flows', { flows: 8, udp }],
          ] as [string, Traffic][])
        : []),
    ])('%s', ([, traffic], context) => expectRate('p1', traffic, 0.02, context));
  });
});

describe.skipIf(!labIsPossible || !uploadIsPossible)('download', { timeout: TIMEOUT_MS }, () => {
  it.each<Level>(['free', 'p1', 'p10'])('is not limited at %s', async (level) => {
    lab = await createNetworkLab({ segmentation: true });
    // a network of that speed: without one the figures are the processor's, which has other things to do
    lab.run(
      'peer',
      'tc',
      'qdisc',
      'add',
      'dev',
      lab.far,
      'root',
      'tbf',
      'rate',
      '500mbit',
      'burst',
      '1m',
      'limit',
      '2m',
    );
    const shaper = await startShaper(lab, 'p-unlimited', lab.near);
    await startIperfServer(lab);
    const seconds = isLong ? 5 : 1.5;
    const limited: number[] = [];
    const unlimited: number[] = [];
    const isAsFast = () => Math.max(...limited) >= 0.95 * Math.max(...unlimited);
    // in turns, and the best of each: the machine may be busy for a while
    for (let turn = 0; turn < 2 || (turn < 8 && !isAsFast()); turn += 1) {
      shaper.tell('p-unlimited');
      await shaper.show();
      unlimited.push(goodput(lab, { flows: 1, isDownload: true }, seconds));
      shaper.tell(level);
      await shaper.show();
      limited.push(goodput(lab, { flows: 1, isDownload: true }, seconds));
    }
    expect({ limited, unlimited, isAsFast: isAsFast() }).toMatchObject({ isAsFast: true });
  });
});
