/** A line of the benchmark's result: samples of both sides, and what issue 4 asks of them. */

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly samples: readonly number[];
}

export type Target =
  /** So many times better than the peer, at least. */
  | { readonly kind: 'better'; readonly times: number }
  /** At most so many times the peer's. */
  | { readonly kind: 'of-peer'; readonly times: number }
  /** Our median, whatever the peer's is. `isTime`: depends on the machine's speed, so the guard does not look at it. */
  | { readonly kind: 'at-most'; readonly limit: number; readonly isTime: boolean };

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  readonly ours: Spread;
  readonly peer: {
    readonly name: 'qemu-ga' | 'qemu-ga + vmtoolsd' | 'node empty.js' | 'tc by hand' | 'vmtoolsd';
    readonly spread: Spread;
  } | null;
  /** What the client reaches with a trivial server: how far it is from being the limit. */
  readonly clientAlone: number | null;
  readonly target: Target | null;
  readonly note: string;
}

export function spreadOf(samples: readonly number[]): Spread {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? Number.NaN;
  const half = sorted.length / 2;
  const median = Number.isInteger(half) ? (at(half - 1) + at(half)) / 2 : at(Math.floor(half));
  return { median, min: at(0), max: at(sorted.length - 1), samples };
}

/** How many times better than the peer we are; null without one, or if either has nothing to compare. */
export function advantage({ better, ours, peer }: Row): number | null {
  if (peer === null) return null;
  const [above, below] =
    better === 'higher' ? [ours.median, peer.spread.median] : [peer.spread.median, ours.median];
  return above > 0 && below > 0 ? above / below : null;
}

/**
 * By which factor the target is missed: 1 or less means that it is met. null if there is none, or no peer to compare with.
 */
export function missFactor(row: Row): number | null {
  const { target, ours, peer } = row;
  if (target === null) return null;
  if (target.kind === 'at-most') {
    if (ours.median <= target.limit) return 1;
    return target.limit > 0 ? ours.median / target.limit : Number.POSITIVE_INFINITY;
  }
  if (target.kind === 'of-peer')
    return peer === null ? null : ours.median / peer.spread.median / target.times;
  const times = advantage(row);
  return times === null ? null : target.times / times;
}

export function targetText({ target, unit }: Row): string {
  switch (target?.kind) {
    case undefined:
      return '';
    case 'better':
      return `>= ${target.times}x`;
    case 'of-peer':
      return `<= ${target.times}x as long`;
    case 'at-most':
      return `<= ${target.limit} ${unit}`;
  }
}

export function ratioText(row: Row): string {
  if (row.target?.kind === 'of-peer' && row.peer !== null)
    return `${(row.ours.median / row.peer.spread.median).toFixed(2)}x as long`;
  const times = advantage(row);
  return times === null ? '' : `${times.toFixed(times < 10 ? 2 : 1)}x`;
}
