/** Makes one interface as it must be: the changes are `qdisc.ts`'s, here they are sent and the kernel's refusals are met. */
import type { Actions } from '../guest/actions.ts';
import {
  parseAcknowledgement,
  type Qdisc,
  type QdiscChange,
  type QdiscPut,
  qdiscRequest,
} from '../guest/linux/netlink-tc.ts';
import type { NativeAddon } from '../native/addon.ts';
import type { LimitSizes } from './limits.ts';
import {
  isInOurPlace,
  type LeafKind,
  leafChange,
  leafOf,
  leafToRestore,
  limitChange,
  removal,
  rootOf,
} from './qdisc.ts';

export type QdiscRequester = (change: QdiscChange) => void;

/** What this kernel has; corrected when it turns out to have less. */
export interface KnownLeaf {
  best: LeafKind;
}

const ENOENT = 2;
const EEXIST = 17;
export const ENODEV = 19;
const EINVAL = 22;
const ELOOP = 40;
/** What is in the place is of another kind under the same handle, or the handle is used elsewhere on the interface. */
const IN_THE_WAY = new Set([EEXIST, EINVAL, ELOOP]);

/** The kernel did not make a change. */
export class QdiscError extends Error {
  override name = 'QdiscError';
  /** Positive. */
  readonly errno: number;
  constructor(errno: number, text: string) {
    super(text);
    this.errno = errno;
  }
}

/** @returns a function that makes a change, or throws a {@link QdiscError} or an ActionRefused */
export function createQdiscRequester(
  native: Pick<NativeAddon, 'errorText'>,
  actions: Pick<Actions, 'changeQdisc'>,
  namespaceFd: number | null,
): QdiscRequester {
  let sequence = 0;
  return (change) => {
    sequence += 1;
    const answer = actions.changeQdisc(namespaceFd, qdiscRequest(change, sequence));
    const result = typeof answer === 'number' ? { errno: -answer, text: '' } : parseAcknowledgement(answer);
    if (result?.errno === 0) return;
    const errno = result?.errno ?? EINVAL;
    const what = change.change === 'put' ? change.kind : 'the removal';
    throw new QdiscError(errno, `the kernel refuses ${what}: ${result?.text || native.errorText(errno)}`);
  };
}

/** Whether anything is to be done. @param sizes null: there must be no limit */
export function needsRepair(
  linkIndex: number,
  qdiscs: readonly Qdisc[],
  sizes: LimitSizes | null,
  best: LeafKind,
): boolean {
  if (sizes === null) return removal(linkIndex, qdiscs).length > 0;
  return (
    limitChange(linkIndex, qdiscs, sizes) !== null || leafChange(linkIndex, qdiscs, sizes, best) !== null
  );
}

/** @throws {QdiscError} @returns whether anything was changed */
export function repair(
  request: QdiscRequester,
  linkIndex: number,
  qdiscs: readonly Qdisc[],
  sizes: LimitSizes | null,
  leaf: KnownLeaf,
): boolean {
  if (sizes === null) {
    const changes = removal(linkIndex, qdiscs);
    changes.forEach(request);
    return changes.length > 0;
  }
  const hasNewLimit = repairLimit(request, linkIndex, qdiscs, sizes);
  // what hung below survives only a change in place; a tbf just made has a fifo of its own
  const isFresh = !isInOurPlace(rootOf(qdiscs));
  const hasNewLeaf = isFresh
    ? leaf.best !== 'bfifo' && repairLeaf(request, linkIndex, [], sizes, leaf)
    : repairLeaf(request, linkIndex, qdiscs, sizes, leaf);
  return hasNewLimit || hasNewLeaf;
}

function repairLimit(
  request: QdiscRequester,
  linkIndex: number,
  qdiscs: readonly Qdisc[],
  sizes: LimitSizes,
): boolean {
  const change = limitChange(linkIndex, qdiscs, sizes);
  if (change === null) return false;
  const root = rootOf(qdiscs);
  put(request, change, root?.handle);
  const adminsFifo = isInOurPlace(root) ? leafToRestore(linkIndex, qdiscs) : null;
  if (adminsFifo !== null) request(adminsFifo);
  return true;
}

function repairLeaf(
  request: QdiscRequester,
  linkIndex: number,
  qdiscs: readonly Qdisc[],
  sizes: LimitSizes,
  leaf: KnownLeaf,
): boolean {
  const change = leafChange(linkIndex, qdiscs, sizes, leaf.best);
  if (change === null) return false;
  try {
    put(request, change, leafOf(qdiscs)?.handle);
    return true;
  } catch (error) {
    const isMissing = error instanceof QdiscError && error.errno === ENOENT && leaf.best !== 'bfifo';
    if (!isMissing) throw error;
    leaf.best = 'bfifo';
    return qdiscs.length > 0 && repairLeaf(request, linkIndex, qdiscs, sizes, leaf);
  }
}

/** @param occupant handle of what is in that place now */
function put(request: QdiscRequester, change: QdiscPut, occupant: number | undefined): void {
  try {
    request(change);
  } catch (error) {
    const isInTheWay = error instanceof QdiscError && IN_THE_WAY.has(error.errno);
    if (!isInTheWay || !occupant) throw error;
    const { linkIndex, parent } = change;
    request({ change: 'remove', linkIndex, parent, handle: occupant });
    request(change);
  }
}
