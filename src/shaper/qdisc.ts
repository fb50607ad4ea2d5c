/**
 * The limit as queueing disciplines: what an interface must have, what it has, and the changes that lead from one to the
 * other. A tbf with a handle of our own is the root; under its one class hangs the guest's own queueing, or the best that
 * the kernel has. Pure.
 */
import {
  burstTicks,
  fqCodelOptions,
  parseFqCodel,
  parseTbf,
  type Qdisc,
  type QdiscChange,
  type QdiscPut,
  TC_ROOT,
  tbfOptions,
} from '../guest/linux/netlink-tc.ts';
import { LIMITS, type LimitSizes } from './limits.ts';

/** `c4a0:`, and `c4a1:` under it: by these we know our own. */
export const LIMIT_HANDLE = 0xc4a0_0000;
export const LEAF_HANDLE = 0xc4a1_0000;
/** tbf's only class. */
export const LIMIT_CLASS = LIMIT_HANDLE + 1;

/** What hangs below the limit when the guest's admin put nothing there. */
export type LeafKind = 'fq_codel' | 'bfifo';

const OUR_RATES = new Set(Object.values(LIMITS).map((bitsPerSecond) => (bitsPerSecond ?? 0) / 8));

export function rootOf(qdiscs: readonly Qdisc[]): Qdisc | undefined {
  return qdiscs.find(({ parent }) => parent === TC_ROOT);
}

export function leafOf(qdiscs: readonly Qdisc[]): Qdisc | undefined {
  return qdiscs.find(({ parent }) => parent === LIMIT_CLASS);
}

/** The limit that the shaper put there, at whatever level: known by handle, kind and rate. */
export function ourLimit(qdiscs: readonly Qdisc[]): Qdisc | null {
  const root = rootOf(qdiscs);
  const state = isInOurPlace(root) ? parseTbf(root.options) : null;
  const isOurs = state?.peakRateBytesPerSecond === 0 && OUR_RATES.has(state.rateBytesPerSecond);
  return isOurs && root !== undefined ? root : null;
}

/** Whether putting the limit changes it in place, which keeps what hangs below. */
export function isInOurPlace(root: Qdisc | undefined): root is Qdisc {
  return root?.handle === LIMIT_HANDLE && root.kind === 'tbf';
}

/** What is to be done where no limit is wanted: only what is ours goes, and the kernel's default comes back. */
export function removal(linkIndex: number, qdiscs: readonly Qdisc[]): QdiscChange[] {
  const limit = { change: 'remove', linkIndex, handle: LIMIT_HANDLE, parent: TC_ROOT } as const;
  return ourLimit(qdiscs) === null ? [] : [limit];
}

/** The change that makes the limit as it must be, or null if it is. */
export function limitChange(linkIndex: number, qdiscs: readonly Qdisc[], sizes: LimitSizes): QdiscPut | null {
  const present = ourLimit(qdiscs);
  if (present !== null && hasSizes(present, sizes)) return null;
  const { rateBytesPerSecond, burstBytes, queueBytes } = sizes;
  return {
    change: 'put',
    linkIndex,
    handle: LIMIT_HANDLE,
    parent: TC_ROOT,
    kind: 'tbf',
    options: tbfOptions({ rateBytesPerSecond, burstBytes, limitBytes: queueBytes }),
  };
}

function hasSizes(qdisc: Qdisc, { rateBytesPerSecond, burstBytes, queueBytes }: LimitSizes): boolean {
  const state = parseTbf(qdisc.options);
  if (state === null) return false;
  const wanted = burstTicks(rateBytesPerSecond, burstBytes);
  // the kernel keeps the burst as a time, by a multiplication that rounds
  const isSameBurst = Math.abs(state.burstTicks - wanted) <= 2 + wanted / 1000;
  return state.rateBytesPerSecond === rateBytesPerSecond && state.limitBytes === queueBytes && isSameBurst;
}

/**
 * A fifo that the admin put below the limit, as it must be put again: with the limit's parameters the kernel also sets
 * such a queue's length.
 */
export function leafToRestore(linkIndex: number, qdiscs: readonly Qdisc[]): QdiscPut | null {
  const leaf = leafOf(qdiscs);
  if (leaf === undefined || isOwnLeaf(leaf) || !/^[pb]fifo$/.test(leaf.kind)) return null;
  return {
    change: 'put',
    linkIndex,
    handle: leaf.handle,
    parent: LIMIT_CLASS,
    kind: leaf.kind,
    options: leaf.options,
  };
}

/** Ours, or the fifo that tbf makes by itself. */
function isOwnLeaf({ handle }: Qdisc): boolean {
  return handle === 0 || handle === LEAF_HANDLE;
}

/**
 * The change below a limit that is in place, or null: an admin's own queueing stays, and so does the fifo that tbf makes,
 * if the kernel has nothing better. A class without a queue, which drops everything, gets one.
 */
export function leafChange(
  linkIndex: number,
  qdiscs: readonly Qdisc[],
  sizes: LimitSizes,
  best: LeafKind,
): QdiscPut | null {
  const leaf = leafOf(qdiscs);
  if (leaf !== undefined && !isOwnLeaf(leaf)) return null;
  if (best === 'bfifo') {
    return leaf === undefined ? putLeaf(linkIndex, 'bfifo', fifoOptions(sizes.queueBytes)) : null;
  }
  const wanted = {
    targetUs: sizes.codelTargetUs,
    // codel's interval is a worst round trip, to which a slow link adds
    intervalUs: 95_000 + sizes.codelTargetUs,
    limitPackets: sizes.queuePackets,
    memoryLimitBytes: sizes.queueMemoryBytes,
  };
  if (leaf?.handle === LEAF_HANDLE && leaf.kind === 'fq_codel') {
    const { targetUs, limitPackets } = parseFqCodel(leaf.options);
    // it counts in units of 1024 ns
    if (Math.abs(targetUs - wanted.targetUs) <= 3 && limitPackets === wanted.limitPackets) return null;
  }
  return putLeaf(linkIndex, 'fq_codel', fqCodelOptions(wanted));
}

function putLeaf(linkIndex: number, kind: LeafKind, options: Buffer): QdiscPut {
  return { change: 'put', linkIndex, handle: LEAF_HANDLE, parent: LIMIT_CLASS, kind, options };
}

/** tc_fifo_qopt. */
function fifoOptions(limitBytes: number): Buffer {
  const options = Buffer.alloc(4);
  options.writeUInt32LE(limitBytes);
  return options;
}
