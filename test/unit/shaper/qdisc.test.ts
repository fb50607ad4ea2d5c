import { describe, expect, it } from 'vitest';
import {
  fqCodelOptions,
  type Qdisc,
  type QdiscChange,
  TC_ROOT,
  tbfOptions,
} from '../../../src/guest/linux/netlink-tc.ts';
import { limitSizes } from '../../../src/shaper/limits.ts';
import {
  LEAF_HANDLE,
  LIMIT_CLASS,
  LIMIT_HANDLE,
  leafChange,
  limitChange,
  ourLimit,
  removal,
} from '../../../src/shaper/qdisc.ts';
import { needsRepair, QdiscError, repair } from '../../../src/shaper/repair.ts';

const free = limitSizes(1e6, 1500);
const p1 = limitSizes(1e9, 1500);
const none: Buffer = Buffer.alloc(0);
const qdisc = (more: Partial<Qdisc>): Qdisc => ({
  linkIndex: 2,
  handle: 0,
  parent: TC_ROOT,
  kind: 'noqueue',
  options: none,
  statistics: null,
  ...more,
});
const tbf = (sizes = free, handle = LIMIT_HANDLE) =>
  qdisc({
    handle,
    kind: 'tbf',
    options: tbfOptions({
      rateBytesPerSecond: sizes.rateBytesPerSecond,
      burstBytes: sizes.burstBytes,
      limitBytes: sizes.queueBytes,
    }),
  });
const below = (kind: string, handle: number, options = none) =>
  qdisc({ parent: LIMIT_CLASS, kind, handle, options });
const ownFifo = below('bfifo', 0);
const short = (changes: (QdiscChange | null)[]) =>
  changes.map((change) =>
    change === null
      ? null
      : `${change.change} ${change.change === 'put' ? change.kind : ''} ${(change.handle >>> 16).toString(16)} @${(change.parent >>> 0).toString(16)}`,
  );

describe('what is ours', () => {
  it.each<[string, Qdisc, boolean]>([
    ['our limit', tbf(), true],
    ['our limit of another level', tbf(p1), true],
    ['the same under another handle', tbf(free, 0x8001_0000), false],
    ['our handle with a rate that is no level', tbf(limitSizes(5e6, 1500)), false],
    ['our handle with another kind', qdisc({ kind: 'htb', handle: LIMIT_HANDLE }), false],
  ])('%s', (_what, one, ours) => {
    expect(ourLimit([one]) !== null).toBe(ours);
    expect(removal(2, [one])).toHaveLength(ours ? 1 : 0);
  });
});

describe('the limit', () => {
  it.each<[string, Qdisc[], boolean]>([
    ['is there', [tbf()], true],
    ['is of another level', [tbf(p1)], false],
    ['has a burst for another MTU', [tbf(limitSizes(1e6, 9000))], false],
    ['is missing', [qdisc({})], false],
    ['is missing on an interface that is down', [], false],
    ['is the admin’s', [qdisc({ kind: 'prio', handle: 0x10_0000 })], false],
  ])('%s', (_what, qdiscs, isRight) => {
    expect(limitChange(2, qdiscs, free) === null).toBe(isRight);
  });
});

describe('below the limit', () => {
  const codel = fqCodelOptions({
    targetUs: free.codelTargetUs,
    intervalUs: 1,
    limitPackets: free.queuePackets,
    memoryLimitBytes: 1,
  });
  it.each<[string, Qdisc[], 'fq_codel' | 'bfifo', string[] | null]>([
    ['tbf’s own fifo becomes fq_codel', [tbf(), ownFifo], 'fq_codel', ['put fq_codel c4a1 @c4a00001']],
    ['tbf’s own fifo stays where there is nothing better', [tbf(), ownFifo], 'bfifo', null],
    ['our fq_codel stays', [tbf(), below('fq_codel', LEAF_HANDLE, codel)], 'fq_codel', null],
    ['an admin’s stays', [tbf(), below('cake', 0x7_0000)], 'fq_codel', null],
    ['nothing at all gets a queue', [tbf()], 'bfifo', ['put bfifo c4a1 @c4a00001']],
  ])('%s', (_what, qdiscs, best, changes) => {
    const change = leafChange(2, qdiscs, free, best);
    expect(change === null ? null : short([change])).toEqual(changes);
  });

  it('codel’s target leaves time for a frame and a half', () => {
    expect(free.codelTargetUs).toBeGreaterThan((1514 * 8 * 1.5e6) / 1e6);
    expect(p1.codelTargetUs).toBe(5000);
  });
});

describe('a repair', () => {
  /** A kernel that refuses what `refuses` says, once. */
  function run(qdiscs: Qdisc[], sizes: typeof free | null, refuses: Record<string, number> = {}) {
    const done: QdiscChange[] = [];
    const leaf: { best: 'fq_codel' | 'bfifo' } = { best: 'fq_codel' };
    const pending = { ...refuses };
    const changed = repair(
      (change) => {
        const kind = change.change === 'put' ? change.kind : 'removal';
        const errno = pending[kind];
        delete pending[kind];
        if (errno !== undefined) throw new QdiscError(errno, kind);
        done.push(change);
      },
      2,
      qdiscs,
      sizes,
      leaf,
    );
    return { done: short(done), changed, best: leaf.best };
  }

  it('puts the limit and the best queue', () => {
    expect(run([qdisc({})], free)).toEqual({
      done: ['put tbf c4a0 @ffffffff', 'put fq_codel c4a1 @c4a00001'],
      changed: true,
      best: 'fq_codel',
    });
  });

  it('is content with tbf’s own fifo where the kernel has no fq_codel', () => {
    expect(run([qdisc({})], free, { fq_codel: 2 })).toEqual({
      done: ['put tbf c4a0 @ffffffff'],
      changed: true,
      best: 'bfifo',
    });
    expect(run([tbf(), ownFifo], free, { fq_codel: 2 })).toMatchObject({ done: [], changed: false });
  });

  it('makes room when another kind has our handle', () => {
    const stranger = qdisc({ kind: 'htb', handle: LIMIT_HANDLE });
    expect(run([stranger], free, { tbf: 22 }).done).toEqual([
      'remove  c4a0 @ffffffff',
      'put tbf c4a0 @ffffffff',
      'put fq_codel c4a1 @c4a00001',
    ]);
  });

  it('does not take away what the kernel would not replace', () => {
    expect(() => run([qdisc({ kind: 'prio', handle: 0x10_0000 })], free, { tbf: 2 })).toThrow(QdiscError);
  });

  it('changes the level in place and gives an admin’s fifo its length back', () => {
    const pfifo = below('pfifo', 0x7_0000, Buffer.from([77, 0, 0, 0]));
    expect(run([tbf(free), pfifo], p1)).toMatchObject({
      done: ['put tbf c4a0 @ffffffff', 'put pfifo 7 @c4a00001'],
    });
  });

  it('p-unlimited removes ours, and nothing else', () => {
    expect(run([tbf(), ownFifo], null).done).toEqual(['remove  c4a0 @ffffffff']);
    expect(run([qdisc({ kind: 'prio', handle: 0x10_0000 })], null).done).toEqual([]);
    expect(needsRepair(2, [qdisc({})], null, 'fq_codel')).toBe(false);
  });
});
